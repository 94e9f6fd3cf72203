"""What workers are asked, and what they answer: bytes in, bytes out, and the same exceptions as without workers.

The work itself is `protocol.envelope`, here as there. This module refuses to know processes, and in which order jobs
are done.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from rmb_peer.protocol.envelope import open_payload, parse_envelope, seal_and_sign, verify_envelope
from rmb_peer.protocol.errors import (
    CannotDecrypt,
    CannotEncrypt,
    InvalidPayloadData,
    InvalidSignature,
    MessageExpired,
    RmbError,
    SenderHasNoPublicKey,
)
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from rmb_peer.protocol.secret import MINI_SECRET_BYTES
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType

KEYS, READY, SEAL, OPEN = 1, 2, 3, 4
"""Kinds of what is said: our keys (the first frame), the answer to that, and the two sorts of jobs."""

DONE, INVALID_SIGNATURE, CANNOT_DECRYPT, NO_PUBLIC_KEY, CANNOT_ENCRYPT, EXPIRED = range(16, 22)
"""Kinds of results."""

Result = bytes | RmbError
"""Of a seal job the serialised envelope, of an open job the payload in clear; or why there is none."""

_SEAL_HEAD = struct.Struct("<Q?I")
"""Unix seconds, whether the receiver publishes a key, its length."""
_OPEN_HEAD = struct.Struct("<I?I")
"""Length of the account, whether the sender publishes a key, its length."""
_ERRORS_WITH_TEXT: dict[int, Callable[[str], RmbError]] = {
    INVALID_SIGNATURE: InvalidSignature,
    CANNOT_DECRYPT: CannotDecrypt,
    CANNOT_ENCRYPT: CannotEncrypt,
}
_ERRORS: dict[int, Callable[[], RmbError]] = {NO_PUBLIC_KEY: SenderHasNoPublicKey, EXPIRED: MessageExpired}
_KINDS: dict[type[RmbError], int] = {
    InvalidSignature: INVALID_SIGNATURE,
    CannotDecrypt: CANNOT_DECRYPT,
    CannotEncrypt: CANNOT_ENCRYPT,
    SenderHasNoPublicKey: NO_PUBLIC_KEY,
    MessageExpired: EXPIRED,
}
_PREFIXES = {
    INVALID_SIGNATURE: "invalid envelope signature: ",
    CANNOT_DECRYPT: "e2e error: ",
    CANNOT_ENCRYPT: "e2e error: ",
}
"""What the texts begin with that these exceptions make of the detail they are given."""


class UnknownJob(Exception):
    """Bytes that are no job, or no result."""


class Job(NamedTuple):
    """Something to do: `SEAL` or `OPEN`, and on what."""

    kind: int
    body: bytes


def seal_job(envelope: Envelope, receiver_public_key: bytes | None, now_s: int) -> Job:
    """`seal_and_sign` for a worker; the arguments are those of that function."""
    key = receiver_public_key or b""
    head = _SEAL_HEAD.pack(now_s, receiver_public_key is not None, len(key))
    return Job(SEAL, b"".join((head, key, envelope.SerializeToString())))


def open_job(envelope: Envelope, account: bytes, sender_public_key: bytes | None) -> Job:
    """`verify_envelope` and then `open_payload` for a worker; the arguments are those of these functions."""
    key = sender_public_key or b""
    head = _OPEN_HEAD.pack(len(account), sender_public_key is not None, len(key))
    return Job(OPEN, b"".join((head, account, key, envelope.SerializeToString())))


def carry_out(identity: Identity, job: Job) -> tuple[int, bytes]:
    """Do a job.

    Returns:
        kind and body of the result.

    Raises:
        UnknownJob: it is none of ours.
    """
    try:
        if job.kind == SEAL:
            return _encoded(_seal(identity, job.body))
        if job.kind == OPEN:
            return _encoded(_open(identity, job.body))
    except (struct.error, InvalidPayloadData) as error:
        raise UnknownJob(f"the body of a job of kind {job.kind} cannot be read: {error}") from None
    raise UnknownJob(f"there are no jobs of kind {job.kind}")


def seal_here(identity: Identity, envelope: Envelope, receiver_public_key: bytes | None, now_s: int) -> Result:
    """What a seal job results in, done at once; changes the envelope."""
    try:
        seal_and_sign(envelope, identity.signer, identity.encryption, receiver_public_key, now_s)
    except (CannotEncrypt, MessageExpired) as error:
        return error
    return envelope.SerializeToString()


def open_here(identity: Identity, envelope: Envelope, account: bytes, sender_public_key: bytes | None) -> Result:
    """What an open job results in, done at once."""
    try:
        verify_envelope(envelope, account)
        return open_payload(envelope, identity.encryption, sender_public_key)
    except (InvalidSignature, CannotDecrypt, SenderHasNoPublicKey) as error:
        return error


def _encoded(result: Result) -> tuple[int, bytes]:
    if isinstance(result, bytes):
        return DONE, result
    kind = _KINDS[type(result)]
    return kind, (str(result).removeprefix(_PREFIXES[kind]).encode() if kind in _PREFIXES else b"")


def result_of(kind: int, body: bytes) -> Result:
    """Read a result.

    Raises:
        UnknownJob: it is none.
    """
    if kind == DONE:
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise UnknownJob("a result with a text that is no UTF-8") from None
    if kind in _ERRORS_WITH_TEXT:
        return _ERRORS_WITH_TEXT[kind](text)
    if kind in _ERRORS:
        return _ERRORS[kind]()
    raise UnknownJob(f"there are no results of kind {kind}")


def encode_keys(identity: Identity) -> bytes:
    """What a worker needs to act in a twin's name. Secret: for the pipe only."""
    return bytes([KEY_TYPES.index(identity.signer.key_type)]) + identity.mini


def decode_keys(body: bytes) -> tuple[bytes, KeyType]:
    """Mini-secret and key type.

    Raises:
        UnknownJob: the bytes are no keys; the text does not repeat them.
    """
    if len(body) != 1 + MINI_SECRET_BYTES or body[0] >= len(KEY_TYPES):
        raise UnknownJob("these are no keys")
    return body[1:], KEY_TYPES[body[0]]


def _seal(identity: Identity, body: bytes) -> Result:
    now_s, has_key, key_bytes = _SEAL_HEAD.unpack_from(body)
    end = _SEAL_HEAD.size + key_bytes
    key = body[_SEAL_HEAD.size : end]
    return seal_here(identity, parse_envelope(body[end:]), key if has_key else None, now_s)


def _open(identity: Identity, body: bytes) -> Result:
    account_bytes, has_key, key_bytes = _OPEN_HEAD.unpack_from(body)
    key_begin = _OPEN_HEAD.size + account_bytes
    end = key_begin + key_bytes
    key = body[key_begin:end]
    return open_here(identity, parse_envelope(body[end:]), body[_OPEN_HEAD.size : key_begin], key if has_key else None)
