"""Envelopes with large payloads: what `envelope` does, without copying the payload and without needing the event loop.

An envelope is kept in two here: a light one, which has everything but the payload, and the payload. The functions that
work on all of the payload are meant for a thread: they spend their time in ciphers and hashes, which let others run.
The bytes on the wire are those of an ordinary envelope whose payload comes last (the order of fields is free, see
`schemas/envelope.proto`).
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rmb_peer.protocol.challenge import challenge_text
from rmb_peer.protocol.encryption import NONCE_BYTES, OVERHEAD_BYTES
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.errors import (
    CannotDecrypt,
    InvalidPayloadData,
    InvalidSignature,
    MessageExpired,
)
from rmb_peer.protocol.large_fields import cut, head_of
from rmb_peer.protocol.lifetime import stamp_envelope
from rmb_peer.protocol.signatures import Signer, verify

LARGE_BYTES = 256 * 1024
"""Envelopes and messages above this are handled as large ones. Below, all steps together block for about 5 ms, and the
detour would cost more than it saves."""

PLAIN_FIELD = Envelope.DESCRIPTOR.fields_by_name["plain"].number
CIPHER_FIELD = Envelope.DESCRIPTOR.fields_by_name["cipher"].number
PAYLOAD_FIELDS = (PLAIN_FIELD, CIPHER_FIELD)


def for_routing(data: bytes) -> Envelope:
    """What a relay reads of an envelope: all of it for an envelope ping, which is sent back; else all but the payload.

    Raises:
        InvalidPayloadData: the bytes are no envelope.
    """
    pieces = cut(data, PAYLOAD_FIELDS) if len(data) > LARGE_BYTES else None
    if pieces is None:
        return parse_envelope(data)
    light = parse_envelope(pieces.rest)
    return parse_envelope(data) if light.WhichOneof("message") == "ping" else light


def destination_twin(data: bytes) -> int | None:
    """To whom an envelope goes; `None` if that cannot be read."""
    envelope = _readable(data)
    return None if envelope is None else envelope.destination.twin


def source_twin(data: bytes) -> int | None:
    """From whom an envelope says that it comes; `None` if that cannot be read."""
    envelope = _readable(data)
    return None if envelope is None else envelope.source.twin


def seal_and_sign_large(
    envelope: Envelope, plain: bytes | bytearray, signer: Signer, cipher: AESGCM | None, nonce: bytes, now_s: int
) -> bytes:
    """Make an envelope ready to leave, as `envelope.seal_and_sign` does, and serialise it. For a thread.

    Args:
        envelope: with everything but the payload; is changed in place.
        plain: the payload.
        signer: key of the source twin.
        cipher: of the pair of twins; `None` leaves the payload in clear.
        nonce: 12 random bytes.
        now_s: Unix seconds.

    Raises:
        MessageExpired: no lifetime is left.
    """
    envelope.ClearField("payload")  # an empty one would be there beside the large one
    if stamp_envelope(envelope, now_s) is None:
        raise MessageExpired
    parts = [bytes(plain)] if cipher is None else [nonce, cipher.encrypt(nonce, plain, None)]
    envelope.signature = signer.sign(_challenge(envelope, *parts))
    number, size = (PLAIN_FIELD if cipher is None else CIPHER_FIELD), sum(map(len, parts))
    return b"".join((envelope.SerializeToString(), head_of(number, size), *parts))


def verify_large(envelope: Envelope, payload: memoryview, account: bytes) -> None:
    """Check the signature, as `envelope.verify_envelope` does. For a thread.

    Args:
        envelope: without its payload.
        payload: as it came.
        account: of the source twin.

    Raises:
        InvalidSignature: with the text of spec rmb 2.7.
    """
    if not envelope.HasField("signature"):
        raise InvalidSignature("message is not signed")
    verify(envelope.signature, _challenge(envelope, payload), account)


def open_large(sealed: memoryview, cipher: AESGCM) -> bytes:
    """Decrypt, as `EncryptionKey.open` does. For a thread.

    Raises:
        CannotDecrypt: with the text of spec rmb 3.6.
    """
    if len(sealed) < OVERHEAD_BYTES:
        raise CannotDecrypt("invalid cipher data")
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except InvalidTag:
        raise CannotDecrypt("invalid cipher data") from None


def _readable(data: bytes) -> Envelope | None:
    try:
        return for_routing(data)
    except InvalidPayloadData:
        return None


def _challenge(envelope: Envelope, *payload: bytes | memoryview) -> bytes:
    """`challenge.challenge` of the whole: the payload is signed before the relays, which come last (spec rmb 2.6)."""
    text = challenge_text(envelope)
    relays = b"".join(relay.encode() for relay in envelope.relays)
    digest = hashlib.md5(text[: len(text) - len(relays)], usedforsecurity=False)
    for part in payload:
        digest.update(part)
    digest.update(relays)
    return digest.digest()
