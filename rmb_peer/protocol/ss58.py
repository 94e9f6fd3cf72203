"""SS58 text form of account ids, as people see them in wallets (Substrate's SS58 registry; prefix 42 on tfchain)."""

import hashlib

from rmb_peer.protocol.signatures import ACCOUNT_BYTES

SS58_PREFIX = 42
_TEXT_CHARS_MAX = 60  # an account has at most 48; a limit keeps the arithmetic on noise short
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CHECKSUM_BYTES = 2
_ONE_BYTE_PREFIX_MAX = 63  # larger first bytes announce a prefix of two bytes, or are reserved


def encode_account(account: bytes) -> str:
    """The SS58 text of a 32-byte account id."""
    body = bytes([SS58_PREFIX]) + account
    number = int.from_bytes(body + _checksum(body))
    digits = ""
    while number:
        number, remainder = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[remainder] + digits
    return digits


def decode_account(text: str) -> bytes:
    """Read an account id: SS58 text of any one-byte prefix (0 to 63), or 64 hex digits with or without `0x`.

    Raises:
        ValueError: it is neither; the text says what was expected.
    """
    digits = text.removeprefix("0x")
    if len(digits) == 2 * ACCOUNT_BYTES and all(c in "0123456789abcdefABCDEF" for c in digits):
        return bytes.fromhex(digits)
    number = 0
    if not text or len(text) > _TEXT_CHARS_MAX:
        raise ValueError("an account is SS58 text such as 5EWp…, or 64 hex digits")
    for character in text:
        value = _ALPHABET.find(character)
        if value < 0:
            raise ValueError("an account is SS58 text such as 5EWp…, or 64 hex digits")
        number = number * len(_ALPHABET) + value
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))  # each leading `1` is a zero byte, as in every base58
    raw = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if len(body) != 1 + ACCOUNT_BYTES or body[0] > _ONE_BYTE_PREFIX_MAX or checksum != _checksum(body):
        raise ValueError("the account's checksum does not match: a character is wrong or missing")
    return body[1:]


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(b"SS58PRE" + body, digest_size=64).digest()[:_CHECKSUM_BYTES]
