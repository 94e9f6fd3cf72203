"""What a stranger may do to this relay, as the operator decides: every limit, its flag and its default.

The defaults are for a relay that is open to the internet, and such that an ordinary gateway never meets one. This
module refuses to know how a limit is kept.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from relay.admission import MODES, Mode, parse_twin
from relay.client_address import LOOPBACK, Network, parse_network
from relay.token_bucket import Rate
from rmb_peer.protocol.errors import LocalError

RATE_MESSAGES = Rate(50_000, 500_000)
"""More than a gateway can sign (about 10,000 a second and core), and more than half of what one process of the relay
can carry (70,000 to 90,000); ten seconds of it at once, so that a restart with a full outbox is not slowed down."""

RATE_BYTES = Rate(128 * 1024 * 1024, 1280 * 1024 * 1024)
"""A line of 1 Gbit/s carries 119 MiB a second; ten seconds of it at once."""

SLOW_S_MAX = 10.0
"""How long a message of a twin that is too fast is held back before it is refused. A guess: long enough to even out a
spike, and well below the 40 s after which a client that hears nothing gives the connection up (spec rmb 5.7)."""

SESSIONS_PER_TWIN = 256
"""A gateway has one; each direct client or browser tab of a service has one. A guess: tabs of a small company."""

CONNECTIONS_PER_ADDRESS = 1000
"""A company or a dormitory behind one address of a NAT. At about 50 KB for an open connection it is 50 MB."""

HANDSHAKE_S = 10.0
"""For TLS, and then for the head of the first request, each. A client sends both at once; ten seconds are many slow
round trips, and what our gateway waits for its side of it."""

BODY_S = 30.0
"""For a posted body; ten times what other relays wait before they give up (spec rmb 6.8)."""

SILENT_MAX = 4096
"""Connections on which no request is under way; the oldest makes room for a new one. A guess: 400 newcomers a second
have ten seconds each, and an attacker needs a thousand times that to leave an honest client no time for a request."""

_OFF = "none"
_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_RATE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?(?:/s)?(?:,([0-9]{1,15})(KiB|MiB|GiB)?)?")
_BURST_S = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Every limit that concerns strangers. `None` means no limit.

    Attributes:
        rate_messages, rate_bytes: what a twin may send, see `twin_rates`.
        slow_s_max: how long a message is held back before it is refused.
        sessions_per_twin: session ids of one twin that may be connected at once.
        connections_per_address: connections of one address; of IPv6, of one /64.
        uncounted: addresses without that limit. Loopback, since it is either the operator or a proxy.
        handshake_s: for TLS, and for the head of a request.
        body_s: for a posted body, and for taking an answer.
        silent_max: connections without a request.
        admission: who may sign in, see `admission`.
        admit: twins on the list.
        admit_file: more of them, one per line.
        ticket_file: hashes of tickets, one per line.
        trusted_proxies: whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
        tls_certificate: PEM; `None` means no TLS here.
        tls_key: PEM; `None` means that the file of the certificate holds it.
    """

    rate_messages: Rate | None = RATE_MESSAGES
    rate_bytes: Rate | None = RATE_BYTES
    slow_s_max: float = SLOW_S_MAX
    sessions_per_twin: int | None = SESSIONS_PER_TWIN
    connections_per_address: int | None = CONNECTIONS_PER_ADDRESS
    uncounted: tuple[Network, ...] = LOOPBACK
    handshake_s: float = HANDSHAKE_S
    body_s: float = BODY_S
    silent_max: int = SILENT_MAX
    admission: Mode = "open"
    admit: frozenset[int] = frozenset()
    admit_file: Path | None = None
    ticket_file: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def told(self) -> dict[str, Any]:
        """What `/.well-known/rmb` tells clients: what may hit them, and not whom the operator trusts."""
        return {
            "rate_messages": _told(self.rate_messages),
            "rate_bytes": _told(self.rate_bytes),
            "slow_s_max": self.slow_s_max,
            "sessions_per_twin": self.sessions_per_twin,
            "connections_per_address": self.connections_per_address,
            "handshake_s": self.handshake_s,
            "body_s": self.body_s,
            "silent_connections_max": self.silent_max,
            "admission": self.admission,
        }


def _told(rate: Rate | None) -> dict[str, int] | None:
    return None if rate is None else {"per_s": rate.per_s, "burst": rate.burst}


def add_limit_flags(parser: argparse.ArgumentParser) -> None:
    """The flags for all of this, in groups of their own."""
    add = parser.add_argument_group("limits for strangers; 'none' takes one away").add_argument
    rate, count, seconds = _checked("rate", parse_rate), _checked("number", _count), _checked("seconds", _seconds)
    network, path = _checked("network", parse_network), Path
    add(
        "--rate-messages",
        type=_or_none("rate", rate),
        default=RATE_MESSAGES,
        metavar="N/s[,BURST]",
        help=f"messages that a twin may send per second, and at once after a pause (default: {show(RATE_MESSAGES)})",
    )
    add(
        "--rate-bytes",
        type=_or_none("rate", rate),
        default=RATE_BYTES,
        metavar="N/s[,BURST]",
        help="their bytes, for example 10MiB/s,100MiB (default: 128MiB/s,1280MiB)",
    )
    add(
        "--slow-max",
        type=seconds,
        default=SLOW_S_MAX,
        metavar="SECONDS",
        help="a twin that is faster is slowed down for this long, then refused (default: %(default)g)",
    )
    add(
        "--sessions-per-twin",
        type=_or_none("number", count),
        default=SESSIONS_PER_TWIN,
        metavar="N",
        help="sessions of one twin that may be connected at once (default: %(default)s)",
    )
    add(
        "--connections-per-address",
        type=_or_none("number", count),
        default=CONNECTIONS_PER_ADDRESS,
        metavar="N",
        help="connections from one IPv4 address, or one /64 of IPv6; loopback is not counted (default: %(default)s)",
    )
    add(
        "--uncounted",
        action="append",
        type=network,
        metavar="CIDR",
        help="addresses without that limit, such as a large site of yours; repeatable",
    )
    add(
        "--handshake-max",
        type=seconds,
        default=HANDSHAKE_S,
        metavar="SECONDS",
        help="time for the TLS handshake, and for the head of a request (default: %(default)g)",
    )
    add(
        "--body-max",
        type=seconds,
        default=BODY_S,
        metavar="SECONDS",
        help="time for a posted body (default: %(default)g)",
    )
    add(
        "--silent-connections",
        type=count,
        default=SILENT_MAX,
        metavar="N",
        help="connections without a request; the oldest makes room for a new one (default: %(default)s)",
    )
    add = parser.add_argument_group("who may sign in").add_argument
    add(
        "--admission",
        choices=MODES,
        default="open",
        help="every twin, those on a list, or those with a ticket (default: %(default)s)",
    )
    add(
        "--admit",
        action="append",
        type=_checked("twin", parse_twin),
        metavar="TWIN",
        help="a twin on the list; with tickets, one that needs none; repeatable",
    )
    add("--admit-file", type=path, metavar="FILE", help="more of them, one per line; read again when it changes")
    add(
        "--ticket-file",
        type=path,
        metavar="FILE",
        help="SHA-256 of each ticket, one per line, as `printf %%s TICKET | sha256sum` writes it; read again when it "
        "changes",
    )
    add = parser.add_argument_group("TLS and proxies").add_argument
    add(
        "--tls-cert",
        type=path,
        metavar="FILE",
        help="certificate chain in PEM form: speak TLS; read again when it changes",
    )
    add("--tls-key", type=path, metavar="FILE", help="its private key (default: in the same file)")
    add(
        "--trusted-proxy",
        action="append",
        type=network,
        metavar="CIDR",
        help="web servers in front, whose X-Forwarded-For and X-Forwarded-Proto are believed; repeatable (default: "
        "none)",
    )


def read_limit_flags(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> LimitSettings:
    """The settings that flags stand for.

    Raises:
        SystemExit: they do not fit together.
    """
    listed = bool(flags.admit or flags.admit_file)
    if listed and flags.admission == "open":
        parser.error("--admit and --admit-file need --admission list (or ticket)")
    if flags.ticket_file and flags.admission != "ticket":
        parser.error("--ticket-file needs --admission ticket")
    if flags.admission == "list" and not listed:
        parser.error("--admission list needs --admit or --admit-file, or nobody could sign in")
    if flags.admission == "ticket" and not flags.ticket_file:
        parser.error("--admission ticket needs --ticket-file")
    if flags.tls_key and not flags.tls_cert:
        parser.error("--tls-key needs --tls-cert")
    return LimitSettings(
        rate_messages=flags.rate_messages,
        rate_bytes=flags.rate_bytes,
        slow_s_max=flags.slow_max,
        sessions_per_twin=flags.sessions_per_twin,
        connections_per_address=flags.connections_per_address,
        uncounted=(*LOOPBACK, *(flags.uncounted or ())),
        handshake_s=flags.handshake_max,
        body_s=flags.body_max,
        silent_max=flags.silent_connections,
        admission=flags.admission,
        admit=frozenset(flags.admit or ()),
        admit_file=flags.admit_file,
        ticket_file=flags.ticket_file,
        trusted_proxies=tuple(flags.trusted_proxy or ()),
        tls_certificate=flags.tls_cert,
        tls_key=flags.tls_key,
    )


def parse_rate(text: str) -> Rate:
    """Read `N/s` or `N/s,BURST`; without a burst it is ten seconds' worth.

    Raises:
        ValueError: it is neither; the text says what is expected.
    """
    match = _RATE.fullmatch(text.strip())
    if match:
        per_s = int(match[1]) * _UNITS[match[2] or ""]
        burst = per_s * _BURST_S if match[3] is None else int(match[3]) * _UNITS[match[4] or ""]
        if per_s > 0 and burst > 0:
            return Rate(per_s, burst)
    raise ValueError(f"{text[:40]!r} is no rate: expected N/s or N/s,BURST, such as 100/s,1000 or 10MiB/s; or none")


def show(rate: Rate) -> str:
    """A rate as its flag is written."""
    return f"{rate.per_s}/s,{rate.burst}"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < 1:
        raise ValueError(f"{text[:20]!r} is no whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or float(text) <= 0:
        raise ValueError(f"{text[:20]!r} is no number of seconds above 0")
    return float(text)


def _or_none(kind: str, read: Callable[[str], T]) -> Callable[[str], T | None]:
    def convert(text: str) -> T | None:
        return None if text == _OFF else read(text)

    convert.__name__ = kind
    return convert


def _checked(kind: str, read: Callable[[str], T]) -> Callable[[str], T]:
    """What argparse takes for a type: our texts become its errors."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except (LocalError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = kind
    return convert
