"""Command lines in documents, held against the parsers of the programs."""

from argparse import ArgumentParser
from importlib import import_module

from relay.commands import COMMANDS as RELAY_COMMANDS
from relay.commands import module_of
from rmb_peer.commands import COMMANDS


def parser_of(words: list[str]) -> tuple[ArgumentParser, list[str]]:
    """The parser that a command line is for, and the words that are left for it."""
    program, *rest = words
    if program == "rmb-relay":
        if rest and rest[0] in RELAY_COMMANDS:
            return _build(f"relay.commands.{module_of(rest[0])}"), rest[1:]
        return _build("relay.cli"), rest
    assert program == "rmb-peer", f"no program of ours: {program}"
    if rest and rest[0] in COMMANDS:
        return _build(f"rmb_peer.commands.{rest[0]}"), rest[1:]
    return _build("rmb_peer.commands.run"), rest


def check_command_line(words: list[str]) -> None:
    """Fail unless the program understands every word."""
    parser, rest = parser_of(words)
    rest = ["0" * 64 if word == "HASH" else word for word in rest]  # what a reader is to fill in
    if "--" in rest:  # `serve`: what follows is somebody else's command line
        assert words[1] == "serve"
        assert rest[rest.index("--") + 1 :], "no program after --"
        rest = rest[: rest.index("--")]
    try:
        parser.parse_args(rest)
    except SystemExit as error:
        raise AssertionError(f"not understood: {' '.join(words)}") from error


def flags_of(words: list[str]) -> set[str]:
    """Every flag of a program, hidden ones excluded."""
    parser, _ = parser_of(words)
    shown = [action for action in parser._actions if action.help != "==SUPPRESS=="]
    return {flag for action in shown for flag in action.option_strings}


def _build(module: str) -> ArgumentParser:
    parser = import_module(module).build_parser()
    assert isinstance(parser, ArgumentParser)
    return parser
