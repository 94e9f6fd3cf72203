"""`rmb-peer [run]`: reads the settings, runs one gateway until SIGINT or SIGTERM."""

import argparse
import os
import sys
from pathlib import Path

from rmb_peer import __version__
from rmb_peer.commands import COMMANDS

_EXAMPLES = """
commands:
{commands}
  (each has its own --help)

examples:
  rmb-peer --mnemonic-file me.key                        relay on this machine, Redis on this machine
  rmb-peer --mnemonic-file me.key --redis embedded       no Redis installed: one is started here
  rmb-peer -m "word word …" --relay wss://relay.example.org --relay wss://relay2.example.org
  rmb-peer --mnemonic-file me.key --substrate wss://tfchain.dev.grid.tf --relay wss://relay.dev.grid.tf
  rmb-peer --config gateway.toml                         settings named like the flags

The secret comes from --mnemonic, --mnemonic-file, the environment (RMB_MNEMONIC), or a prompt. Other users of the
machine can read arguments of a running program: prefer a file.

exit codes: 0 stopped as asked, 1 failure, 2 wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of the gateway (spec rmb 8.1, and ours)."""
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{line}" for name, line in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="rmb-peer",
        description="Message gateway: carries JSON from Redis lists, signed and encrypted, to other gateways.",
        epilog=_EXAMPLES.format(commands=commands),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--mnemonic", "--mnemonics", "--seed", metavar="SECRET", help="mnemonic of 12 to 24 words, or 0x seed"
    )
    parser.add_argument("--mnemonic-file", type=Path, metavar="FILE", help="file with the mnemonic or seed")
    parser.add_argument("-k", "--key-type", type=str.lower, help="sr25519 (default) or ed25519")
    parser.add_argument(
        "-r",
        "--redis",
        metavar="URL",
        help="store of the local programs (default redis://localhost:6379); embedded[:PORT]",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the embedded store (default ./rmb-data)")
    parser.add_argument(
        "--relay", action="append", metavar="URL", help="1 to 4 relays, preferred first (default ws://localhost:8080)"
    )
    parser.add_argument(
        "--relay-ticket-file",
        type=Path,
        metavar="FILE",
        help="ticket for a relay that asks for one; with several relays, lines of HOST[:PORT] TICKET (or in "
        "RMB_RELAY_TICKET)",
    )
    parser.add_argument(
        "--registry", metavar="URL", help="who is twin N: https://…, file:PATH (default: the one the relay offers)"
    )
    parser.add_argument(
        "-s",
        "--substrate",
        action="append",
        metavar="URL",
        help="nodes of tfchain, wss://…, preferred first: look twins up on the chain instead of a registry",
    )
    parser.add_argument("-u", "--uploads", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument(
        "--no-update", action="store_true", default=None, help="do not write our record to the registry"
    )
    parser.add_argument(
        "--overwrite-relays",
        action="store_true",
        default=None,
        help="on tfchain: replace the relays of our record even if it lists others besides",
    )
    parser.add_argument("--message-bytes-max", type=int, metavar="N", help="largest message (default 16 MiB)")
    parser.add_argument(
        "--http", metavar="HOST:PORT", help="serve /metrics, /healthz and /readyz there (default: nowhere)"
    )
    parser.add_argument(
        "--journal-bytes", type=int, metavar="N", help="journal for `rmb-peer where` (default 32 MiB; 0: none)"
    )
    parser.add_argument("--journal-age", type=int, metavar="SECONDS", help="how long it is kept (default a day)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that sign, seal, verify and decrypt, for a gateway that fills one core while others idle "
        "(default 0: it does that itself)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same settings")
    parser.add_argument("-d", "--debug", action="count", help="more log lines; twice for all")
    parser.add_argument("--log-format", choices=("auto", "json", "text"), help="auto: text on a terminal, else JSON")
    parser.add_argument("-V", "--version", action="version", version=f"rmb-peer {__version__}")
    return parser


def main(argv: list[str]) -> int:
    """Run the gateway.

    Args:
        argv: arguments after the program's name.

    Returns:
        exit code.
    """
    parser = build_parser()
    arguments = vars(parser.parse_args(argv))
    mnemonic, config_path = arguments.pop("mnemonic"), arguments.pop("config")
    uploads = arguments.pop("uploads")

    from rmb_peer.config import GatewayConfig, merge, read_config_file
    from rmb_peer.logs import setup_logging
    from rmb_peer.protocol.errors import BadRequest, LocalError
    from rmb_peer.protocol.identity import Identity
    from rmb_peer.secret_source import read_secret

    try:
        config = GatewayConfig()
        if config_path is not None:
            config = merge(config, read_config_file(config_path), str(config_path))
        config = merge(config, _from_environment(), "environment")
        config = merge(config, arguments, "arguments").check()
        identity = Identity.from_secret(read_secret(mnemonic, config.mnemonic_file), config.key_type, os.urandom)
    except BadRequest as error:
        return _fail(str(error), 2)
    if uploads:
        print("rmb-peer: --uploads has no effect, as in the original", file=sys.stderr)
    setup_logging(config.debug, config.log_format)

    from rmb_peer.app import Gateway
    from rmb_peer.running import run_until_signalled

    try:
        run_until_signalled(lambda: Gateway(config, identity))
    except BadRequest as error:
        return _fail(str(error), 2)
    except LocalError as error:
        return _fail(str(error), 1)
    return 0


def _from_environment() -> dict[str, str | None]:
    names = {
        "redis": "RMB_REDIS",
        "relay": "RMB_RELAY",
        "registry": "RMB_REGISTRY",
        "substrate": "RMB_SUBSTRATE",
        "key_type": "RMB_KEY_TYPE",
    }
    return {name: os.environ.get(variable) for name, variable in names.items()}


def _fail(text: str, code: int) -> int:
    print(f"rmb-peer: {text}", file=sys.stderr)
    return code
