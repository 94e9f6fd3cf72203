"""`rmb-relay check-config`: what flags and file amount to, in the form of a file, and whether they are right.

It refuses to start anything: whether a port is free or a store answers, only a start tells.
"""

import argparse
import json
import re
from typing import Any
from urllib.parse import urlsplit

from relay.cli import build_parser as relay_parser
from relay.cli import config_of, settings_of
from relay.commands.common import EXIT_OK, EXIT_USAGE, complain
from relay.settings import Settings, SettingsParser, WrongSetting

NAME = "check-config"
MASK = "***"

NONE = "none"
"""What flags that can be turned off call that."""

_SECRET_ENDINGS = ("secret", "password", "ticket", "tickets", "token", "tokens")
_PASSWORD = re.compile(r"((?:^|&)password=)[^&]*", re.IGNORECASE)
_NOT_SHOWN = frozenset({"config", "help", "version"})

_EPILOG = """\
Takes the flags of rmb-relay. Prints what holds, as a configuration file; secrets are masked. A line that begins with #
is a setting that has no value.

examples:
  rmb-relay check-config --config /etc/rmb-relay.toml
  rmb-relay check-config --config /etc/rmb-relay.toml && systemctl reload rmb-relay

exit codes:
  0  everything is right
  2  something is not; the last line says what
"""


def build_parser() -> SettingsParser:
    """The flags of the relay itself."""
    parser = relay_parser()
    parser.prog = f"rmb-relay {NAME}"
    parser.description = "Check flags and the configuration file, and show what holds."
    parser.epilog = _EPILOG
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    parser = build_parser()
    parser.raises = True
    try:
        settings = settings_of(parser, argv)
        config_of(parser, settings.values)
    except WrongSetting as error:
        complain(NAME, str(error))
        return EXIT_USAGE
    for line in lines_of(parser, settings):
        print(line)
    return EXIT_OK


def lines_of(parser: argparse.ArgumentParser, settings: Settings) -> list[str]:
    """The settings as lines of TOML, each with its origin."""
    lines = []
    for action in parser._actions:
        long = [option.removeprefix("--") for option in action.option_strings if option.startswith("--")]
        if not long or long[0] in _NOT_SHOWN:
            continue
        value, origin = getattr(settings.values, action.dest), settings.origins[action.dest]
        empty = value is None and origin == "default"
        lines.append(f"# {long[0]} =" if empty else f"{long[0]} = {_toml(long[0], value)}  # {origin}")
    return lines


def _toml(name: str, value: Any) -> str:
    if value is None:
        return json.dumps(NONE)
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, tuple) and [type(part) for part in value] == [str, int]:
        host, port = value
        return json.dumps(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(name, item) for item in value)}]"
    secret = name.endswith(_SECRET_ENDINGS)
    return json.dumps(MASK if secret else masked(str(value)), ensure_ascii=False)


def masked(text: str) -> str:
    """A text without the passwords of a URL."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return MASK
    if password is not None:
        host = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{parts.username or ''}:{MASK}@{host}")
    return parts._replace(query=_PASSWORD.sub(rf"\1{MASK}", parts.query)).geturl()
