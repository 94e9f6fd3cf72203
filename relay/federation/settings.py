"""What the operator decides about speaking to other relays, and the flags for it. It refuses to know how it is used."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import normalize_relay

RANKER_PERIOD_S = 3600
"""How long a failure counts (spec rmb 8.2)."""

PERIOD_S_MAX = 30 * 24 * 3600
"""Longest `--ranker-period`; a guess: older failures say nothing."""


@dataclass(frozen=True, slots=True)
class FederationSettings:
    """How envelopes for twins of other relays leave.

    Attributes:
        enabled: false refuses them, as relays without federation do.
        places: URLs of relays that are not at `https://<name>/`; these are trusted.
        allow: patterns (`*.example.org`); when there are any, only relays that match are spoken to, wherever they are.
        deny: patterns of relays that are never spoken to.
        ranker_period_s: how long a failure of a relay counts against it.
        entries_max: envelopes that may wait for one relay; as many as for one session.
        bytes_max: their bytes; a guess: a gigabyte for sixteen dead relays.
        all_entries_max: envelopes that may wait for all relays together; a guess, ten full outboxes.
        all_bytes_max: their bytes; a guess that an ordinary host has memory for.
        remotes_max: relays for which something may wait; strangers choose their names. A guess: the existing network
            has tens.
        parallel: posts on their way to one relay at once, for as many destinations (spec rmb 6.8: four per consumer).
        connect_s_max: time for a connection (spec rmb 6.8).
        answer_s_max: time for an answer. Other relays give 3 s in all; a loaded store stalls for longer, and a
            post that is given up may have been accepted and comes twice. Nobody else waits for this relay meanwhile.
        retry_s_first, retry_s_max: pause after a failure, doubled up to the maximum, each shortened by up to half at
            random. Guesses: a restart takes a second, and a relay that is back should not be missed for long.
        open_after: failures in a row after which only probes are sent.
        look_s: how often the store is looked at for outboxes that nobody empties; a guess. What this process or another
            puts into one is told at once.
        lease_ms: how long an outbox belongs to a process that says nothing any more.
    """

    enabled: bool = True
    places: tuple[tuple[str, str], ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ranker_period_s: float = RANKER_PERIOD_S
    entries_max: int = 10_000
    bytes_max: int = 64 * 1024 * 1024
    all_entries_max: int = 100_000
    all_bytes_max: int = 1024 * 1024 * 1024
    remotes_max: int = 1000
    parallel: int = 4
    connect_s_max: float = 2.0
    answer_s_max: float = 10.0
    retry_s_first: float = 0.5
    retry_s_max: float = 30.0
    open_after: int = 3
    look_s: float = 1.0
    lease_ms: int = 5000


def add_federation_flags(parser: argparse.ArgumentParser) -> None:
    """The flags about other relays (spec rmb 8.2, and ours)."""
    add = parser.add_argument_group("other relays").add_argument
    add(
        "--no-federation",
        action="store_true",
        help="refuse messages for twins of other relays, instead of handing them on",
    )
    add(
        "--federation-map",
        action="append",
        type=_checked(_read_place),
        metavar="NAME=URL",
        help="where a relay is that cannot be found at https://NAME/; repeatable",
    )
    add(
        "--federation-allow",
        action="append",
        type=_checked(_read_pattern),
        metavar="PATTERN",
        help="speak only to relays whose names match, such as *.example.org, and also at private addresses; repeatable",
    )
    add(
        "--federation-deny",
        action="append",
        type=_checked(_read_pattern),
        metavar="PATTERN",
        help="never speak to relays whose names match; repeatable",
    )
    add(
        "-p",
        "--ranker-period",
        type=_checked(_read_period),
        default=RANKER_PERIOD_S,
        metavar="SECONDS",
        help="how long a failure counts when a message can go by several relays (default: %(default)s)",
    )


def federation_settings(flags: argparse.Namespace) -> FederationSettings:
    """The settings that the flags ask for."""
    return FederationSettings(
        enabled=not flags.no_federation,
        places=tuple(dict(flags.federation_map or ()).items()),
        allow=tuple(flags.federation_allow or ()),
        deny=tuple(flags.federation_deny or ()),
        ranker_period_s=flags.ranker_period,
    )


def _checked(read: Callable[[str], object]) -> Callable[[str], object]:
    def convert(text: str) -> object:
        try:
            return read(text)
        except (BadRequest, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _read_place(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals:
        raise ValueError(f"{text[:80]!r}: expected NAME=URL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("expected NAME=http://host[:port]/ or NAME=https://host[:port]/, without a password")
    if parts.query or parts.fragment or parts.port == 0:
        raise ValueError("the URL of a relay has no ? and no #, and its port is not 0")
    return normalize_relay(name), url if parts.path else url + "/"


def _read_pattern(text: str) -> str:
    if not text or len(text) > 253 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text[:80]!r} is no pattern of relay names: expected for example *.example.org")
    return text.lower()


def _read_period(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not 1 <= int(text) <= PERIOD_S_MAX:
        raise ValueError(f"{text[:20]!r} is no number of seconds from 1 to {PERIOD_S_MAX}")
    return int(text)
