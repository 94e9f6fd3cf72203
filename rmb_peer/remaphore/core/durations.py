"""Durations in Go's grammar (spec remaphore 18), in whole nanoseconds."""

import re

NS_PER_S = 1_000_000_000
_NS_MAX = 2**63 - 1
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5
    "μs": 1_000,  # U+03BC
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
_PART = re.compile(r"([0-9]*)(\.([0-9]*))?([^0-9.]*)")
_DIGITS_MAX = 40
"""Digits of one number that are looked at; more than 19 are out of range anyway, more after the point are cut off."""


class BadDuration(ValueError):
    """The text is no duration; the message is Go's."""


def parse(text: str) -> int:
    """Read a duration.

    Args:
        text: for example `1h2m3s4ms`, `-1.5h`, `0`.

    Returns:
        nanoseconds, possibly negative.

    Raises:
        BadDuration: with the wording of the Go library.
    """
    negative = text.startswith("-")
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise BadDuration(f"time: invalid duration {_quote(text)}")
    total = 0
    while rest:
        match = _PART.match(rest)
        assert match is not None  # every part of the pattern may be empty
        whole, _, fraction, unit = match.groups()
        if not whole and not fraction:
            raise BadDuration(f"time: invalid duration {_quote(text)}")
        if not unit:
            raise BadDuration(f"time: missing unit in duration {_quote(text)}")
        if unit not in _UNITS:
            raise BadDuration(f"time: unknown unit {_quote(unit)} in duration {_quote(text)}")
        total += _nanoseconds(whole, fraction or "", _UNITS[unit])
        if total > _NS_MAX + negative:
            raise BadDuration(f"time: invalid duration {_quote(text)}")
        rest = rest[match.end() :]
    return -total if negative else total


def _nanoseconds(whole: str, fraction: str, unit_ns: int) -> int:
    digits = whole.lstrip("0")
    if len(digits) > _DIGITS_MAX:
        return _NS_MAX + 2  # out of range, whatever the sign
    fraction = fraction[:_DIGITS_MAX]
    scale: int = 10 ** len(fraction)
    return int(digits or "0") * unit_ns + int(fraction or "0") * unit_ns // scale


def seconds(duration_ns: int) -> float:
    """For timers."""
    return duration_ns / NS_PER_S


def show(duration_ns: int) -> str:
    """Go's print form: `1h30m0s`, `500ms`, `0s`."""
    if duration_ns == 0:
        return "0s"
    sign, rest = ("-", -duration_ns) if duration_ns < 0 else ("", duration_ns)
    for unit, unit_ns in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if rest < 1_000 * unit_ns:
            return f"{sign}{_decimal(rest, unit_ns)}{unit}"
    minutes, rest = divmod(rest, 60 * NS_PER_S)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, NS_PER_S)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"


def _quote(text: str) -> str:
    """Go's `time` package quotes every byte that is not printable ASCII."""
    shown = ""
    for byte in text.encode("utf-8", "surrogateescape"):
        if byte in b'"\\':
            shown += "\\" + chr(byte)
        elif 0x20 <= byte < 0x80:
            shown += chr(byte)
        else:
            shown += f"\\x{byte:02x}"
    return f'"{shown}"'
