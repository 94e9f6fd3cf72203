"""Flags as Go's `flag` package reads them (spec remaphore 10). It differs from getopt and argparse in most details."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rmb_peer.remaphore.core import durations
from rmb_peer.remaphore.core.text import quote

Kind = Literal["switch", "string", "duration", "whole"]
Value = bool | str | int

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Usage(Exception):
    """The command line is wrong, or asks for help.

    Attributes:
        asked: whether `-h` asked for the usage text; then there is no error.
    """

    def __init__(self, text: str, asked: bool = False) -> None:
        super().__init__(text)
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its name without dashes, what it takes, and a sentence."""

    name: str
    kind: Kind
    help: str
    default: Value = ""


@dataclass(slots=True)
class Parsed:
    """Values by name, and the arguments that are no flags."""

    values: dict[str, Value]
    given: set[str] = field(default_factory=set)
    arguments: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """A string flag."""
        return str(self.values[name])

    def on(self, name: str) -> bool:
        """A switch."""
        return bool(self.values[name])

    def number(self, name: str) -> int:
        """A whole number, or a duration in nanoseconds."""
        return int(self.values[name])


def parse(flags: Sequence[Flag], argv: Sequence[str], before: Parsed | None = None) -> Parsed:
    """Read flags up to the first argument that is none.

    Args:
        flags: which there are.
        argv: without the program name.
        before: what an earlier part of the command line gave; it is added to.

    Raises:
        Usage: with the wording of Go.
    """
    by_name = {flag.name: flag for flag in flags}
    parsed = before or Parsed({flag.name: _default(flag) for flag in flags})
    rest = list(argv)
    while rest:
        word = rest[0]
        if len(word) < 2 or not word.startswith("-"):
            break
        rest.pop(0)
        if word == "--":
            break
        name = word.removeprefix("-").removeprefix("-")
        if not name or name[0] in "-=":
            raise Usage(f"bad flag syntax: {word}")
        name, equals, value = name.partition("=")
        if name not in by_name:
            if name in ("h", "help"):
                raise Usage("", asked=True)
            raise Usage(f"flag provided but not defined: -{name}")
        flag = by_name[name]
        if flag.kind == "switch":
            parsed.values[name] = _switch(flag, value) if equals else True
        else:
            if not equals:
                if not rest:
                    raise Usage(f"flag needs an argument: -{name}")
                value = rest.pop(0)
            parsed.values[name] = _value(flag, value)
        parsed.given.add(name)
    parsed.arguments = rest
    return parsed


def _default(flag: Flag) -> Value:
    if flag.default != "" or flag.kind == "string":
        return flag.default
    return False if flag.kind == "switch" else 0


def _switch(flag: Flag, value: str) -> bool:
    if value not in _TRUE + _FALSE:
        raise Usage(f"invalid boolean value {quote(value)} for -{flag.name}: parse error")
    return value in _TRUE


def _value(flag: Flag, value: str) -> Value:
    if flag.kind == "duration":
        try:
            return durations.parse(value)
        except durations.BadDuration:
            raise Usage(f"invalid value {quote(value)} for flag -{flag.name}: parse error") from None
    if flag.kind == "whole":
        if not value.isascii() or not value.isdigit() or len(value) > 9:
            raise Usage(f"invalid value {quote(value)} for flag -{flag.name}: parse error")
        return int(value)
    return value


def usage(program: str, flags: Sequence[Flag]) -> str:
    """The usage text, flags in byte order."""
    lines = [f"Usage of {program}:"]
    for flag in sorted(flags, key=lambda flag: flag.name):
        kind = {"switch": "", "string": " string", "duration": " duration", "whole": " int"}[flag.kind]
        front = f"  -{flag.name}{kind}"
        shown = durations.show(int(flag.default)) if flag.kind == "duration" and flag.default else flag.default
        default = f" (default {quote(str(shown)) if flag.kind == 'string' else shown})" if flag.default else ""
        lines.append(front + ("\t" if len(front) <= 4 else "\n    \t") + flag.help + default)
    return "\n".join(lines) + "\n"
