"""The command `rmb-relay`: finds a subcommand, or turns flags into a `RelayConfig` and runs until told to stop."""

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.commands import COMMANDS, module_of
from relay.config import (
    LISTEN_PORT,
    REGISTRY_HOSTED,
    REGISTRY_NONE,
    USERS_PER_WORKER,
    WORKERS,
    RateLimit,
    RelayConfig,
)
from relay.control import Control, Place
from relay.federation.inbound_settings import add_inbound_flags, inbound_settings
from relay.federation.settings import add_federation_flags, federation_settings
from relay.limit_settings import add_limit_flags, read_limit_flags
from relay.listening import parse_address
from relay.operating import add_operating_flags, operating_of
from relay.process_settings import add_process_flags
from relay.retention import add_retention_flags, retention_of
from relay.settings import Settings, SettingsParser, add_config_flag, read_settings
from relay.signals import watch_signals
from relay.tasks import end as end_tasks
from rmb_peer import __version__
from rmb_peer.logs import setup_logging
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.errors import LocalError
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.registry.tfchain.following import CATCHUP_BLOCKS_MAX
from rmb_peer.registry.tfchain.urls import check_node_urls

if TYPE_CHECKING:
    from relay.app import RelayApp

CATCHUP_MAX = 100_000
"""Largest `--catchup-threshold`: a week of blocks; their headers take 30 MB while they are gone through. A guess."""

_EXAMPLES = """\
examples:
  rmb-relay
      on port 8080, for gateways on this machine, with a store and a registry of its own in ./rmb-relay-data

  rmb-relay --domain relay.example.org --listen 127.0.0.1:8080 --data /var/lib/rmb-relay
      behind a web server that adds TLS and passes everything on, WebSockets included

  rmb-relay -m relay.example.org -s wss://tfchain.dev.grid.tf:443
      for the twins of the ThreeFold development network

  rmb-relay -m relay.example.org --processes 4
      four processes on one port and one store, which are one relay

  rmb-relay -m relay.example.org -r redis://10.0.0.5:6379 --limit 600 67108864
      mailboxes in a Redis of yours; at most 600 messages and 64 MiB per minute from each twin

  rmb-relay federation list
      what waits for other relays; see rmb-relay federation --help

  rmb-relay -m relay.example.org --listen [::]:443 --tls-cert fullchain.pem --tls-key privkey.pem
      without a web server in front; renewed certificates are taken into use by themselves

SIGTERM and Ctrl-C stop the relay in order: clients are told to go elsewhere, and what waits for them is kept; a second
one stops it at once. SIGHUP reads the configuration file again."""


GARBAGE_OBJECTS = 20_000
"""Objects made and kept that start a search for garbage; a guess: a batch of envelopes makes some thousand."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand, if the first word is one, or else the relay.

    Args:
        argv: arguments without the program name; those of the process by default.

    Returns:
        0 after an orderly stop, 1 if it cannot start, 2 for wrong arguments; and what a subcommand documents.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return _subcommand(words[0], words[1:])
    place = Place.from_environment()
    try:
        config = parse_arguments(words)
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    setup_logging(config.debug, config.log_format)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            if place is not None:
                runner.run(_run_as_one_of_many(config, words, place))
            elif config.processes > 1:
                runner.run(_supervise(config, words))
            else:
                runner.run(_run(config, words))
    except LocalError as error:
        sys.stderr.write(f"rmb-relay: {error}\n")
        return 1
    return 0


def _subcommand(name: str, argv: list[str]) -> int:
    try:
        return int(import_module(f"relay.commands.{module_of(name)}").main(argv))
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells expect
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing can be told to it
        return 141  # 128 + SIGPIPE


def settings_of(parser: SettingsParser, argv: Sequence[str] | None) -> Settings:
    """Flags, and the file that `--config` names; see `read_settings`."""
    return read_settings(parser, argv, either_or=[("substrate", "registry"), ("redis", "redis_cluster")])


def parse_arguments(argv: Sequence[str] | None, *, raises: bool = False) -> RelayConfig:
    """Flags, and the file that `--config` names, into a configuration.

    Args:
        argv: arguments without the program name; those of the process by default.
        raises: say what is wrong by an exception instead of ending the program.

    Raises:
        SystemExit: wrong arguments (2), help or version (0).
        WrongSetting: wrong arguments, if `raises`.
    """
    parser = build_parser()
    parser.raises = raises
    return config_of(parser, settings_of(parser, argv).values)


def config_of(parser: SettingsParser, flags: argparse.Namespace) -> RelayConfig:
    """What the parser has read, as a configuration.

    Raises:
        SystemExit, WrongSetting: values that do not go together; see `parse_arguments`.
    """
    workers, users, frames_and_bytes = flags.workers, flags.user_per_worker, flags.limit
    host, port = flags.listen
    if flags.substrate and flags.registry is not None:
        parser.error("give either --substrate or --registry, not both")
    if flags.redis and flags.redis_cluster:
        parser.error("give either --redis or --redis-cluster, not both")
    return RelayConfig(
        domains=tuple(flags.domain or ()),
        redis_url=flags.redis,
        redis_cluster=tuple(flags.redis_cluster or ()),
        processes=flags.processes,
        data_folder=flags.data,
        sessions_max=workers * users,
        listen_host=host,
        listen_port=port,
        rate_limit=RateLimit(*frames_and_bytes) if frames_and_bytes else None,
        limits=read_limit_flags(parser, flags),
        registry=flags.registry or REGISTRY_HOSTED,
        substrate=tuple(dict.fromkeys(flags.substrate or ())),
        catchup_blocks_max=flags.catchup_threshold,
        message_bytes_max=flags.message_bytes_max,
        retention=retention_of(flags),
        federation=federation_settings(flags),
        inbound=inbound_settings(flags),
        operating=operating_of(flags),
        log_format=flags.log_format,
        debug=flags.debug,
    )


async def _run(config: RelayConfig, words: Sequence[str]) -> None:
    from relay.app import RelayApp

    stop = asyncio.Event()
    relay = RelayApp(config)
    _watch(relay, stop, lambda: parse_arguments(words, raises=True))
    async with relay:
        _collect_seldom()
        await stop.wait()


async def _run_as_one_of_many(config: RelayConfig, words: Sequence[str], place: Place) -> None:
    from relay.app import RelayApp

    stop = asyncio.Event()
    relay = RelayApp(place.put(config), probe_seed=place.probe_seed)
    _watch(relay, stop, lambda: place.put(parse_arguments(words, raises=True)))
    async with relay:
        control = await Control.open(place, relay.metrics.text, stop.set)
        relay.scrape_with(control.scrape)
        control.ready(relay.address)
        _collect_seldom()
        answering = asyncio.create_task(control.run())
        await stop.wait()
    await end_tasks([answering])
    control.close()


def _watch(relay: "RelayApp", stop: asyncio.Event, read: Callable[[], RelayConfig]) -> None:
    """Have signals stop the relay, or make it read its configuration again."""
    reloads = relay.reloads
    reloads.on_change("debug", lambda debug: setup_logging(debug, reloads.config.log_format))
    reloads.on_change("log_format", lambda log_format: setup_logging(reloads.config.debug, log_format))

    def reload() -> None:
        reloads.reload(read)

    watch_signals(stop.set, reload)


def _collect_seldom() -> None:
    """Look for garbage in cycles less often, and not among what was there at the start.

    Messages make none, but 700 of the objects that they are carried in start a search, and every hundredth of those
    goes through all there is.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 50)


async def _supervise(config: RelayConfig, words: Sequence[str]) -> None:
    from relay.supervisor import Supervisor

    await Supervisor(config, words, lambda: parse_arguments(words, raises=True)).run()


def _loop_factory() -> Any:
    """uvloop where it is installed: it carries more messages, and is never required."""
    try:
        return import_module("uvloop").new_event_loop
    except ImportError:
        return None


def build_parser() -> SettingsParser:
    """The flags of the relay (spec rmb 8.2, and ours)."""
    parser = SettingsParser(
        prog="rmb-relay",
        description="Carries messages between rmb gateways, and keeps them for gateways that are away.",
        epilog=f"{_EXAMPLES}\n\n{_subcommands()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_flag(parser)
    add = parser.add_argument
    add(
        "-m",
        "--domain",
        action="extend",
        nargs="+",
        type=_domain,
        metavar="NAME",
        help="names under which twins list this relay, host or host:port; repeatable (default: names of this machine)",
    )
    add(
        "-l",
        "--listen",
        type=_address,
        default=f"[::]:{LISTEN_PORT}",
        metavar="ADDRESS",
        help="host:port; port 0 picks a free one, which is in the log line 'listening' (default: %(default)s)",
    )
    add(
        "-r",
        "--redis",
        type=_store_url,
        metavar="URL",
        help="store for mailboxes: redis://, rediss:// or unix:// (default: one of its own, in the data folder)",
    )
    add(
        "--data",
        type=Path,
        default=Path("rmb-relay-data"),
        metavar="FOLDER",
        help="where the relay's own store keeps its data (default: ./%(default)s)",
    )
    add(
        "--registry",
        type=_registry,
        metavar="WHERE",
        help=f"who knows the twins: '{REGISTRY_HOSTED}' (this relay), '{REGISTRY_NONE}' (nobody can sign in), or the "
        f"URL of a registry (default: {REGISTRY_HOSTED})",
    )
    add(
        "--limit",
        nargs=2,
        type=_positive,
        metavar=("COUNT", "SIZE"),
        help="most messages, and most bytes, that a twin may send per minute, as other relays count them (default: no "
        "limit; see --rate-messages)",
    )
    add(
        "--message-bytes-max",
        type=_positive,
        default=MESSAGE_BYTES_MAX,
        metavar="BYTES",
        help="largest message (default: %(default)s, what other gateways can read)",
    )
    add(
        "-w",
        "--workers",
        type=_positive,
        default=WORKERS,
        metavar="N",
        help="workers * users per worker is how many sessions may be connected at once; it means nothing else here "
        "(default: %(default)s)",
    )
    add(
        "-u",
        "--user-per-worker",
        type=_positive,
        default=USERS_PER_WORKER,
        metavar="N",
        help="see --workers (default: %(default)s)",
    )
    add(
        "-s",
        "--substrate",
        action="extend",
        nargs="+",
        type=_node_url,
        metavar="URL",
        help="look twins up on tfchain: one or more of its nodes, wss://host, preferred first; instead of --registry",
    )
    add(
        "--catchup-threshold",
        type=_catchup,
        default=CATCHUP_BLOCKS_MAX,
        metavar="BLOCKS",
        help="with --substrate: after an outage, ask for the events of up to this many missed blocks; after a longer "
        "one, ask for each twin again (default: %(default)s)",
    )
    add_retention_flags(parser, _positive)
    add_federation_flags(parser)
    add_inbound_flags(parser)
    add_operating_flags(parser)
    add_process_flags(parser)
    add(
        "--log-format",
        choices=("auto", "json", "text"),
        default="auto",
        help="auto is text on a terminal, else one JSON object per line (default: %(default)s)",
    )
    add_limit_flags(parser)
    add("-d", "--debug", action="count", default=0, help="a line per step of each message; twice shows more")
    add("-V", "--version", action="version", version=f"rmb-relay {__version__}")
    return parser


def _subcommands() -> str:
    lines = [f"  rmb-relay {name:14}{text}" for name, text in COMMANDS.items()]
    return "\n".join(["subcommands, each with a --help of its own:", *lines])


def _checked(kind: str, check: Any) -> Any:
    def convert(text: str) -> Any:
        try:
            return check(text)
        except (LocalError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = kind
    return convert


def _read_store_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://host:port, rediss://host:port or unix:///path")
    return text


def _read_positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < 1:
        raise ValueError(f"{text[:20]!r} is no whole number above 0")
    return int(text)


def _read_catchup(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > CATCHUP_MAX:
        raise ValueError(f"{text[:20]!r} is no whole number up to {CATCHUP_MAX}")
    return int(text)


def _read_registry(text: str) -> str:
    if text in (REGISTRY_HOSTED, REGISTRY_NONE) or ":" in text:
        return text
    raise ValueError(f"{text!r} is neither '{REGISTRY_HOSTED}', '{REGISTRY_NONE}' nor a URL")


_domain = _checked("name", normalize_relay)
_address = _checked("address", parse_address)
_store_url = _checked("url", _read_store_url)
_positive = _checked("number", _read_positive)
_catchup = _checked("number", _read_catchup)
_registry = _checked("registry", _read_registry)
_node_url = _checked("url", lambda text: check_node_urls((text,))[0])
