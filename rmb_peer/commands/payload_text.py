"""Payloads from elsewhere as text: for eyes, for one line, for a JSON field. Pure; it never fails on any payload.

What reaches a terminal from here cannot steer it.
"""

import base64
import json
from typing import Any, Never


def printable(text: str) -> str:
    """Text on one line and unable to steer a terminal: control and formatting characters become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_text(payload: bytes) -> str | None:
    """The payload as UTF-8, or `None` when it is not."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def compact_json(payload: bytes) -> str | None:
    """The payload as JSON on one line, or `None` when it is no JSON (or nested too deeply to be read)."""
    return _json(payload, separators=(",", ":"))


def one_line(payload: bytes) -> str:
    """JSON compact, text escaped, other bytes as base64."""
    text = as_text(payload)
    if text is None:
        return "base64:" + base64.b64encode(payload).decode()
    compact = compact_json(payload)
    return printable(text if compact is None else compact)


def json_field(payload: bytes) -> str:
    """JSON for a field that holds the payload: its JSON value, else its text, else null."""
    return compact_json(payload) or json.dumps(as_text(payload), ensure_ascii=False)


def for_eyes(payload: bytes) -> tuple[str, bool] | None:
    """Text for a terminal, and whether it is JSON (then indented); `None` when the payload is no text at all."""
    text = as_text(payload)
    if text is None:
        return None
    indented = _json(payload, indent=2)
    lines = (text if indented is None else indented).splitlines()
    return "\n".join(printable(line.expandtabs()) for line in lines), indented is not None


def _json(payload: bytes, **form: Any) -> str | None:
    try:
        return json.dumps(json.loads(payload, parse_constant=_refuse), ensure_ascii=False, allow_nan=False, **form)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number that JSON cannot hold, or nested too deeply
        return None


def _refuse(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")
