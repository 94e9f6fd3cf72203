"""The least that a request and its response can cost: their cryptography, with the libraries that the gateway uses.

Per message: MD5 of the challenge, sign, verify (spec rmb 2.6, 3.3), seal, open with a kept AES-GCM object (3.4). A
request and its response are two messages. Nothing of ours runs here, so nothing of ours can flatter it.

    python -m tests.benchmarks.floor

Each line of standard input is a JSON object with the arguments of `floor_s`, and is answered with one.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rmb_peer.protocol.signatures import KeyType

MESSAGES = 2
CHALLENGE_BESIDE_PAYLOAD = b"u" * 120
"""Roughly what a challenge holds beside the payload."""


def floor_s(key_type: KeyType, payload_bytes: int, duration_s: float = 0.3) -> float:
    """Processor time of one request and its response, in seconds.

    Args:
        key_type: of both twins.
        payload_bytes: of each of the two messages.
        duration_s: how long to try.
    """
    one = _message(key_type, os.urandom(payload_bytes))
    one()
    rounds, begin_s = 0, time.process_time()
    while (took_s := time.process_time() - begin_s) < duration_s:
        one()
        rounds += 1
    return MESSAGES * took_s / rounds


def _message(key_type: KeyType, payload: bytes) -> Callable[[], None]:
    sign, verify = _sr25519() if key_type == "sr25519" else _ed25519()
    cipher = AESGCM(os.urandom(32))

    def one() -> None:
        nonce = os.urandom(12)
        sealed = nonce + cipher.encrypt(nonce, payload, None)
        digest = hashlib.md5(CHALLENGE_BESIDE_PAYLOAD + sealed, usedforsecurity=False).digest()
        signature = sign(digest)
        again = hashlib.md5(CHALLENGE_BESIDE_PAYLOAD + sealed, usedforsecurity=False).digest()
        verify(signature, again)
        cipher.decrypt(sealed[:12], sealed[12:], None)

    return one


def _sr25519() -> tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]:
    import sr25519

    pair = sr25519.pair_from_seed(os.urandom(32))
    return partial(sr25519.sign, pair), lambda signature, message: sr25519.verify(signature, message, pair[0])


def _ed25519() -> tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]:
    from nacl.signing import SigningKey

    key = SigningKey(os.urandom(32))
    return lambda message: key.sign(message).signature, lambda signature, message: key.verify_key.verify(
        message, signature
    )


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps({"floor_s": floor_s(**json.loads(line))}), flush=True)
