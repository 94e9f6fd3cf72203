"""Envelopes: parse, sign, verify, seal, and the few that relays and gateways make themselves (spec rmb 2, 6.3, 6.5).

This module refuses to know where an envelope came from or goes to next; lifetimes are in `lifetime`, the signed bytes
in `challenge`.
"""

import re

from google.protobuf.message import DecodeError

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.challenge import challenge
from rmb_peer.protocol.encryption import EncryptionKey
from rmb_peer.protocol.errors import (
    InvalidPayloadData,
    InvalidSignature,
    MessageExpired,
    SenderHasNoPublicKey,
)
from rmb_peer.protocol.lifetime import ERROR_LIFETIME_S, LIFETIME_S_MAX, stamp_envelope
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from rmb_peer.protocol.signatures import Signer, verify

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Largest serialised envelope. The Rust gateway and relay send each as one WebSocket frame and read frames up to
16 MiB, so more than this cannot reach one of them (spec rmb 2.2)."""

FAIL_FAST = "fail-fast"
"""Tag that asks relays to refuse at once when the receiver is offline (spec rmb 6.6)."""

PONG_TEXT = b"hello world"
"""What a relay appends to the payload of an envelope ping (spec rmb 6.5)."""

_TAG_SEPARATOR = re.compile(r"[,\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
"""Commas and Unicode's White_Space (PropList.txt), as in the Rust relay; Python's `\\s` also takes U+001C to U+001F."""


def parse_envelope(data: bytes) -> Envelope:
    """Read a serialised envelope.

    Raises:
        InvalidPayloadData: the bytes are no envelope.
    """
    try:
        return Envelope.FromString(data)
    except DecodeError as error:
        raise InvalidPayloadData(str(error)) from None


def source_of(envelope: Envelope) -> Address:
    """The sender; twin 0 when absent."""
    return Address.from_message(envelope.source)


def destination_of(envelope: Envelope) -> Address:
    """The receiver; twin 0 when absent."""
    return Address.from_message(envelope.destination)


def is_fail_fast(envelope: Envelope) -> bool:
    """Whether one of the tags, split at commas and white space, is exactly `fail-fast` (spec rmb 6.6)."""
    return FAIL_FAST in envelope.tags and FAIL_FAST in _TAG_SEPARATOR.split(envelope.tags)


def seal_and_sign(
    envelope: Envelope,
    signer: Signer,
    encryption: EncryptionKey,
    receiver_public_key: bytes | None,
    now_s: int,
) -> None:
    """Make an envelope ready to leave: encrypt if the receiver publishes a key, stamp, sign (spec rmb 5.5).

    Source and destination are set before, and the payload is in clear: whoever sends to several twins, or sends again,
    starts from the clear message each time. An absent payload becomes the 28 bytes that the empty text encrypts to.

    Args:
        envelope: is changed in place; when this raises, its payload is still in clear and it is not signed.
        signer: key of the source twin.
        encryption: key of the source twin.
        receiver_public_key: what the destination publishes; `None` leaves the payload in clear.
        now_s: Unix seconds.

    Raises:
        CannotEncrypt: the receiver's key is no key.
        MessageExpired: no lifetime is left.
    """
    if stamp_envelope(envelope, now_s) is None:
        raise MessageExpired
    if receiver_public_key is not None:
        assert envelope.WhichOneof("payload") != "cipher", "sealed already: this would send the empty text instead"
        envelope.cipher = encryption.seal(envelope.plain, receiver_public_key)
    envelope.signature = signer.sign(challenge(envelope))


def verify_envelope(envelope: Envelope, account: bytes) -> None:
    """Check the signature against the account of the source twin.

    Raises:
        InvalidSignature: with the text of spec rmb 2.7.
    """
    if not envelope.HasField("signature"):
        raise InvalidSignature("message is not signed")
    verify(envelope.signature, challenge(envelope), account)


def open_payload(envelope: Envelope, encryption: EncryptionKey, sender_public_key: bytes | None) -> bytes:
    """The payload in clear, empty when there is none.

    Raises:
        SenderHasNoPublicKey: it is encrypted, but the sender publishes no key.
        CannotDecrypt: it does not open.
    """
    if envelope.WhichOneof("payload") != "cipher":
        return envelope.plain
    if sender_public_key is None:
        raise SenderHasNoPublicKey
    return encryption.open(envelope.cipher, sender_public_key)


def error_reply(request: Envelope, code: int, text: str, expiration: int | None = None) -> Envelope:
    """The unsigned, unstamped error that answers a request (spec rmb 5.9).

    Args:
        request: what is answered; gives uid and receiver.
        code: wire code.
        text: what people read.
        expiration: seconds; by default the request's own, which starts anew, or 300 if it has none. Unlike in the Rust
            gateway it is capped, so that an absurd lifetime in a request does not make its error unsendable.
    """
    lifetime_s = min(expiration or request.expiration or ERROR_LIFETIME_S, LIFETIME_S_MAX)
    reply = Envelope(uid=request.uid, expiration=lifetime_s)
    reply.destination.CopyFrom(request.source)
    reply.error.code = code
    reply.error.message = text
    return reply


def relay_error(uid: str, text: str, now_s: int, receiver: Address | None) -> Envelope:
    """The error that a relay makes: code 0, no source, no signature, no payload (spec rmb 6.3).

    The *absence* of the source is how Go clients recognise it.

    Args:
        uid: of the request that failed.
        text: what people read.
        now_s: Unix seconds.
        receiver: the requester's session; `None` for federation errors (spec rmb 6.8).
    """
    envelope = Envelope(uid=uid, timestamp=now_s, expiration=ERROR_LIFETIME_S)
    if receiver is not None:
        receiver.write_to(envelope.destination)
    envelope.error.SetInParent()
    envelope.error.message = text
    return envelope


def turn_ping(ping: Envelope) -> Envelope:
    """The pong for an envelope ping: addresses swapped, `hello world` appended to the plain payload (spec rmb 6.5).

    Everything else stays as it is, a stale signature included; a cipher payload is replaced. An absent address stays
    absent on its new side.
    """
    pong = Envelope()
    pong.CopyFrom(ping)
    pong.pong.SetInParent()
    pong.ClearField("source")
    if ping.HasField("destination"):
        pong.source.CopyFrom(ping.destination)
    pong.ClearField("destination")
    if ping.HasField("source"):
        pong.destination.CopyFrom(ping.source)
    pong.plain = ping.plain + PONG_TEXT
    return pong


__all__ = [
    "FAIL_FAST",
    "MESSAGE_BYTES_MAX",
    "Envelope",
    "destination_of",
    "error_reply",
    "is_fail_fast",
    "open_payload",
    "parse_envelope",
    "relay_error",
    "seal_and_sign",
    "source_of",
    "turn_ping",
    "verify_envelope",
]
