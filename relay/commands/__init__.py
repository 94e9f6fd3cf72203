"""The subcommands of `rmb-relay`, one file each. No subcommand means: run the relay.

Each module offers `main(argv) -> exit code` and `build_parser()`, and parses its own arguments, so that a command
imports nothing that it does not use. A name with a hyphen is a module with an underscore.
"""

COMMANDS = {
    "status": "show how a running relay is doing",
    "federation": "show what waits for other relays, and order what becomes of it",
    "check-config": "say what the flags and the configuration file amount to, and whether they are right",
}
"""Name and one line of help."""


def module_of(name: str) -> str:
    """The last part of the name of a subcommand's module."""
    return name.replace("-", "_")
