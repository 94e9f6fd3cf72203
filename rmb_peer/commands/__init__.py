"""The subcommands of `rmb-peer`, one file each.

Each module offers `main(argv) -> exit code` and parses its own arguments, so that a command in a shell loop imports
nothing that it does not use.
"""

COMMANDS = {
    "run": "run the gateway (what no subcommand means, too)",
    "dev": "start a whole network on this machine and send a message through it",
    "call": "send a request and print the answer",
    "serve": "answer requests with a program",
    "keys": "make a new identity, or show the public parts of one",
    "twin": "look up, make, change and list twins",
    "where": "show where a message is, or how it ended",
    "status": "show how the gateway is doing",
    "queues": "show what waits in which list",
    "dead": "look after messages that could not be delivered",
    "bao": "build, check, cut, decode and repair verified content",
}
"""Name and one line of help; the module has the same name."""
