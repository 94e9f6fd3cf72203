"""Flags and a configuration file, layered: a flag wins over the file, the file over the default.

The file is TOML, and its keys are the names of the flags, so whatever a flag takes the file takes too: this module
turns keys into the words of a command line and lets the parser read those. It refuses to know any single setting.
"""

import argparse
import difflib
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from rmb_peer.protocol.errors import LocalError

CONFIG_BYTES_MAX = 1024 * 1024
"""A guess: nobody writes a megabyte of settings by hand."""

Origin = Literal["flag", "file", "default"]

_NOT_SETTINGS = frozenset({"config", "help", "version"})
_REPEATABLE = ("_AppendAction", "_ExtendAction")
_ADDING_UP = (*_REPEATABLE, "_CountAction")
_UNSAID = object()


class WrongSetting(LocalError):
    """A flag or a key is wrong; the text names it and says what it should be."""


class SettingsParser(argparse.ArgumentParser):
    """A parser whose complaints can be caught.

    Attributes:
        raises: whether a mistake raises `WrongSetting`; by default it ends the program, as argparse does.
    """

    raises = False

    def error(self, message: str) -> NoReturn:
        """A mistake was found.

        Raises:
            WrongSetting: if `raises`.
            SystemExit: else, with code 2.
        """
        if self.raises:
            raise WrongSetting(message)
        super().error(message)


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds.

    Attributes:
        values: as the parser gives them.
        origins: where each comes from.
    """

    values: argparse.Namespace
    origins: Mapping[str, Origin]


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings in TOML, with the names of these flags; a flag wins; SIGHUP reads the file again",
    )


def read_settings(
    parser: SettingsParser, argv: Sequence[str] | None, either_or: Collection[tuple[str, str]] = ()
) -> Settings:
    """Read flags, and the file that they name.

    Args:
        parser: knows all settings.
        argv: arguments without the program name; those of the process by default.
        either_or: names of which a flag for one makes the file's word on the other void.

    Raises:
        WrongSetting: if the parser raises, for a mistake in either.
        SystemExit: else, with code 2; or 0 after help and version.
    """
    names = vars(parser.parse_args([]))
    flags = _given(parser, argv, names)
    path = flags.get("config")
    from_file = {} if path is None else _given_by_file(parser, path, names)
    for one, other in either_or:
        for said, void in ((one, other), (other, one)):
            if said in flags:
                from_file.pop(void, None)
    origins: dict[str, Origin] = {}
    for name in names:
        origins[name] = "flag" if name in flags else "file" if name in from_file else "default"
    return Settings(argparse.Namespace(**{**names, **from_file, **flags}), origins)


def _given(parser: SettingsParser, argv: Sequence[str] | None, names: Collection[str]) -> dict[str, Any]:
    """What the words set, without the defaults. `None` may be a value; those that add up begin with it."""
    adding_up = {action.dest for action in parser._actions if type(action).__name__ in _ADDING_UP}
    blank = argparse.Namespace(**{name: None if name in adding_up else _UNSAID for name in names})
    read = vars(parser.parse_args(argv, blank))
    return {name: value for name, value in read.items() if value is not (None if name in adding_up else _UNSAID)}


def _given_by_file(parser: SettingsParser, path: Path, names: Collection[str]) -> dict[str, Any]:
    raises, parser.raises = parser.raises, True
    problem, given = "", dict[str, Any]()
    try:
        given = _given(parser, _words(parser, read_file(path)), names)
    except WrongSetting as error:
        problem = f"{path}: {error}"
    finally:
        parser.raises = raises
    if problem:
        parser.error(problem)
    return given


def read_file(path: Path) -> dict[str, Any]:
    """The keys and values of a TOML file.

    Raises:
        WrongSetting: it cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise WrongSetting(f"cannot be read: {error.strerror}") from None
    if len(data) > CONFIG_BYTES_MAX:
        raise WrongSetting(f"is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSetting(f"is not TOML: {error}") from None


def _words(parser: argparse.ArgumentParser, settings: Mapping[str, Any]) -> list[str]:
    """The command line that says the same as a file.

    Raises:
        WrongSetting: an unknown key, or a value of a kind that no flag takes.
    """
    actions = {
        option.removeprefix("--"): action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option.removeprefix("--") not in _NOT_SETTINGS
    }
    words: list[str] = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        action = actions.get(name)
        if action is None:
            near = difflib.get_close_matches(name, actions, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "the settings are the flags of rmb-relay --help"
            raise WrongSetting(f"unknown setting {key!r}: {hint}")
        words += _words_of(name, action, value)
    return words


def _words_of(name: str, action: argparse.Action, value: Any) -> list[str]:
    flag = f"--{name}"
    if action.nargs == 0:  # a flag that takes no word: true or false, or how often
        if isinstance(value, int) and 0 <= value <= (1 if action.const is not None else 9):
            return [flag] * value
        raise WrongSetting(f"{name} must be {'true or false' if action.const is not None else 'a small number'}")
    values = value if isinstance(value, list) else [value]
    texts = [_text_of(name, item) for item in values]
    if action.nargs is not None:
        return [flag, *texts] if texts else []
    if isinstance(value, list) and type(action).__name__ not in _REPEATABLE:
        raise WrongSetting(f"{name} takes one value, not a list")
    return [f"{flag}={text}" for text in texts]


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise WrongSetting(f"{name} must be a text or a number, or a list of them where the flag takes several")
    return str(value)
