"""The flags about several processes and the store they share."""

import argparse

from relay.store import CLUSTER_SCHEMES

PROCESSES_MAX = 64
"""More than any machine has cores to spare; a guess."""


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
