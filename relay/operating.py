"""What an operator decides about stopping and looking in, with its flags. See `draining` and `admin`."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay.listening import parse_address

DRAIN_S = 3.0
"""What supervisors leave: ten seconds until SIGKILL (`docker stop`), of which winding up the last session may take four
(`draining.WIND_UP_S_MAX`) and requests that are being answered two."""

DRAIN_S_MAX = 3600.0
"""A guess: nobody waits longer for a relay to stop."""


@dataclass(frozen=True, slots=True)
class Operating:
    """Stopping, and looking in from outside.

    Attributes:
        drain_s: over how long at most the sessions are told to go elsewhere, one after another.
        drain_notice_s: how long `/readyz` says so before anything else happens.
        admin_host, admin_port: where `/metrics`, `/healthz` and `/readyz` are; no host: on the port of everything else.
    """

    drain_s: float = DRAIN_S
    drain_notice_s: float = 0.0
    admin_host: str | None = None
    admin_port: int = 0


def add_operating_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this part."""
    add = parser.add_argument
    add(
        "--drain-s",
        type=_checked(_read_seconds),
        default=DRAIN_S,
        metavar="SECONDS",
        help="when stopping, tell clients one after another over this time to go elsewhere, fewer in less (default: "
        "%(default)g; give the supervisor 7 more until it kills)",
    )
    add(
        "--drain-notice-s",
        type=_checked(_read_seconds),
        default=0.0,
        metavar="SECONDS",
        help="before that, let /readyz say 503 for so long, for load balancers to look away (default: %(default)g)",
    )
    add(
        "--admin-listen",
        type=_checked(parse_address),
        metavar="ADDRESS",
        help="host:port for /metrics, /healthz and /readyz, which then are nowhere else (default: with all the rest)",
    )


def operating_of(flags: argparse.Namespace) -> Operating:
    """What the flags say."""
    host, port = flags.admin_listen or (None, 0)
    return Operating(flags.drain_s, flags.drain_notice_s, host, port)


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= DRAIN_S_MAX:
        raise ValueError(f"{text[:20]!r} is no number of seconds from 0 to {DRAIN_S_MAX:g}")
    return seconds


def _checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
