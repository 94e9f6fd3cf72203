"""What the operator decides, checked once. It refuses to know where the values come from."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

from relay.federation.inbound_settings import InboundSettings
from relay.federation.settings import FederationSettings
from relay.limit_settings import LimitSettings
from relay.mailboxes import APPEND_S_MAX
from relay.operating import Operating
from relay.process_settings import Timing
from relay.retention import Retention
from rmb_peer.logs import LogFormat
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.registry.tfchain.following import CATCHUP_BLOCKS_MAX

WORKERS = 500
USERS_PER_WORKER = 1000
"""Their product is how many sessions may be connected (spec rmb 8.2); there are no workers to share them out to."""

LISTEN_HOST = "::"
LISTEN_PORT = 8080
"""All addresses, IPv4 included, port 8080 (spec rmb 8.2)."""

REGISTRY_HOSTED = "hosted"
"""The relay keeps the registry of twins itself, in its store."""

REGISTRY_NONE = "none"
"""No registry: no twin is known, so nobody can sign in."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Per twin and minute (spec rmb 6.9).

    Attributes:
        frames: number of frames.
        bytes: their bytes together; no single frame may be larger.
    """

    frames: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """Everything that can be chosen.

    Attributes:
        domains: names under which twins list this relay; empty means names of this machine, see `default_domains`.
        redis_url: the store; `None` starts one in `data_folder`.
        data_folder: of the embedded store.
        sessions_max: sessions connected at once; 500 workers of 1000 users (spec rmb 8.2).
        listen_host, listen_port: where to listen; port 0 picks a free one.
        rate_limit: `None` means none, as in other relays.
        limits: every other limit that concerns strangers, admission, TLS and proxies.
        registry: "hosted", "none", or the URL of a registry.
        substrate: nodes of tfchain, preferred first; when there are any, they are the registry.
        catchup_blocks_max: missed blocks of the chain that are asked for one by one (spec rmb 7.5).
        message_bytes_max: largest envelope; what other implementations can read (spec rmb 2.2).
        store_patience_s: how long an envelope waits for a store that does not answer; then its sender is told.
        direct_s_max: how long an envelope that was handed over without the store may stay unacknowledged; then it is
            stored. A guess: several round trips around the world.
        federation: how envelopes for twins of other relays leave.
        inbound: which relays may post here, and by which key they recognise us.
        redis_cluster: some servers of a cluster, which is the store instead of `redis_url`.
        presence: how several processes on one store hear of each other.
        processes: how many processes are this relay.
        shared_port: whether other processes listen on the same port.
        rhythm: pings; the times of other implementations (spec rmb 5.7).
        retention: how long, and how much, is kept for those who are away.
        operating: stopping, and looking in from outside.
        log_format: see `rmb_peer.logs`.
        debug: 0 information, 1 debug, 2 trace.
    """

    domains: tuple[str, ...] = ()
    redis_url: str | None = field(default=None, repr=False)  # may hold a password
    data_folder: Path = Path("rmb-relay-data")
    sessions_max: int = WORKERS * USERS_PER_WORKER
    listen_host: str = LISTEN_HOST
    listen_port: int = LISTEN_PORT
    rate_limit: RateLimit | None = None
    limits: LimitSettings = field(default_factory=LimitSettings)
    registry: str = REGISTRY_HOSTED
    substrate: tuple[str, ...] = ()
    catchup_blocks_max: int = CATCHUP_BLOCKS_MAX
    message_bytes_max: int = MESSAGE_BYTES_MAX
    store_patience_s: float = APPEND_S_MAX
    direct_s_max: float = 1.0
    federation: FederationSettings = field(default_factory=FederationSettings)
    inbound: InboundSettings = field(default_factory=InboundSettings)
    redis_cluster: tuple[str, ...] = field(default=(), repr=False)  # may hold passwords
    presence: Timing = field(default_factory=Timing)
    processes: int = 1
    shared_port: bool = False
    rhythm: Rhythm = field(default_factory=Rhythm)
    retention: Retention = field(default_factory=Retention)
    operating: Operating = field(default_factory=Operating)
    log_format: LogFormat = "auto"
    debug: int = 0


HTTP_PORT = 80


def default_domains(port: int) -> frozenset[str]:
    """The names that a relay without `--domain` answers to: this machine's, so that trying it out needs no DNS.

    Other relays treat every offline twin as foreign then (spec rmb 6.4).
    """
    host = socket.gethostname().lower()
    names = {f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", host, f"{host}:{port}"}
    if port == HTTP_PORT:
        names |= {"localhost", "127.0.0.1", "[::1]"}  # URLs leave it out
    return frozenset(name for name in names if _is_name(name))


def _is_name(text: str) -> bool:
    try:
        return normalize_relay(text) == text
    except BadRequest:  # a host name that no record could hold
        return False
