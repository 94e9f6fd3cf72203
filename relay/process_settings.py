"""What is decided about several processes and the store they share, and the flags for it. It refuses to know both.

It imports no client of a store: every command reads flags, and few open a store.
"""

import argparse
from dataclasses import dataclass

CLUSTER_SCHEMES = ("redis", "rediss")
"""A cluster has no Unix sockets."""

PROCESSES_MAX = 64
"""More than any machine has cores to spare; a guess."""


BEAT_S = 1.0
"""How often a process says that it lives; a guess: one small call."""

LIFE_S = 5.0
"""How long it is believed: the sessions of a killed process count as connected for so long. A guess, longer than most
stalls of a store."""

CHECK_S = 5.0
"""How often all sessions are checked while other processes live; a guess: what was lost comes this much later."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often what is done, in seconds.

    Attributes:
        beat_s: saying that we live.
        life_s: how long we are believed.
        check_s: checking all sessions while other processes live.
    """

    beat_s: float = BEAT_S
    life_s: float = LIFE_S
    check_s: float = CHECK_S


def add_process_flags(parser: argparse.ArgumentParser) -> None:
    """`--processes` and `--redis-cluster`."""
    parser.add_argument(
        "--processes",
        type=_count,
        default=1,
        metavar="N",
        help="so many processes share the port and the store and are one relay; about one per core (default: 1)",
    )
    parser.add_argument(
        "--redis-cluster",
        action="extend",
        type=_urls,
        metavar="URL[,URL]",
        help="some servers of a Valkey Cluster or Redis Cluster, as the store; one given by --redis is recognised, too",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= PROCESSES_MAX:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number of processes: expected 1 to {PROCESSES_MAX}")
    return int(text)


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(text.split(","))
    for url in urls:
        scheme, separator, rest = url.partition("://")
        if scheme not in CLUSTER_SCHEMES or not separator or not rest:
            raise argparse.ArgumentTypeError("expected redis://host:port or rediss://host:port, separated by commas")
    return urls
