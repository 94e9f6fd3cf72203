"""The bytes of a message (spec remaphore 2 and 4): fields to bytes, bytes to fields. Keys and clocks come later."""

import hashlib
import re
from dataclasses import dataclass, replace

from rmb_peer.remaphore.core import base58
from rmb_peer.remaphore.core.settings import PUBLIC_CHARS_MAX
from rmb_peer.remaphore.core.text import quote, to_text

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""The most that a NATS server can be configured to carry in one message."""

SIGNATURE_CHARS_MAX = 88
"""Base58 of 64 bytes is 64 to 88 characters (section 2)."""

REPLY_VERB = b"reply"

_INT64_MAX = 2**63 - 1
_TIME = re.compile(rb"([+-]?)([0-9a-fA-F]+)", re.DOTALL)
_HEX_PAIRS = re.compile(rb"(?:[0-9a-fA-F]{2})*")
_SHOWN_CHARS_MAX = 64  # of a field of somebody else, in an error


class WireError(ValueError):
    """The bytes are no message; the text is for a log line."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `sender` and `signature` are empty where their base58 is bad."""

    sender: bytes
    signature: bytes
    destination: bytes
    time_ns: int
    uuid: bytes
    verb: bytes
    wants_reply: bool
    payload: bytes

    def signed_bytes(self) -> bytes:
        """What the signature covers: fields 2 to 7 with their commas, in canonical form."""
        flag = b"Q" if self.wants_reply else b"_"
        time = b"%x" % self.time_ns
        return b",".join((self.destination, time, self.uuid.hex().encode(), self.verb, flag, self.payload))

    def encoded(self) -> bytes:
        """The bytes on the wire."""
        front = f"{base58.encode(self.sender)},{base58.encode(self.signature)},"
        return front.encode() + self.signed_bytes()


def message_hash(encoded: bytes) -> str:
    """64 hexadecimal digits over the bytes as they were received; names the subject of the answers (section 7)."""
    return hashlib.sha256(encoded).hexdigest()


def parse(encoded: bytes) -> Message:
    """Take a message apart. Does not check that it is canonical, and no key.

    Raises:
        WireError: steps 1 to 4 of section 4, in their order.
    """
    front = encoded.split(b",", 2)
    if len(front) != 3 or len(encoded) > MESSAGE_BYTES_MAX:
        raise WireError("message format corrupt")
    rest = front[2].split(b",", 5)
    if len(rest) != 6:
        raise WireError("message format corrupt")
    destination, time, uuid, verb, flag, payload = rest
    time_ns = _parse_time(time)
    return Message(
        destination=destination,
        time_ns=time_ns,
        uuid=_parse_uuid(uuid),
        sender=base58.decode(front[0], PUBLIC_CHARS_MAX),
        signature=base58.decode(front[1], SIGNATURE_CHARS_MAX),
        verb=verb,
        wants_reply=flag == b"Q",
        payload=payload,
    )


def as_reply(message: Message) -> Message:
    """The same message with the flag of a reply, which is always `_`."""
    return replace(message, wants_reply=False)


def _parse_time(text: bytes) -> int:
    shown = quote(to_text(text[:_SHOWN_CHARS_MAX]))
    match = _TIME.fullmatch(text)
    if match is None:
        raise WireError(f"strconv.ParseInt: parsing {shown}: invalid syntax")
    sign, digits = match.groups()
    digits = digits.lstrip(b"0") or b"0"
    value = int(digits, 16) if len(digits) <= 16 else _INT64_MAX + 2
    if value > _INT64_MAX + (sign == b"-"):
        raise WireError(f"strconv.ParseInt: parsing {shown}: value out of range")
    return -value if sign == b"-" else value


def _parse_uuid(text: bytes) -> bytes:
    good = _HEX_PAIRS.match(text)
    assert good is not None  # the pattern matches the empty string
    if good.end() == len(text):
        return bytes.fromhex(text.decode("ascii"))
    for byte in text[good.end() :]:
        if byte not in b"0123456789abcdefABCDEF":
            character = chr(byte)
            shown = f" '{character}'" if character.isprintable() else ""
            raise WireError(f"encoding/hex: invalid byte: U+{byte:04X}{shown}")
    raise WireError("encoding/hex: odd length hex string")
