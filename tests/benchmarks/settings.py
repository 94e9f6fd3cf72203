"""What is measured, how often and for how long. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.end_to_end import Load

LONE, SOME, MANY = 1, 16, 256
KIB = 1024


@dataclass(frozen=True)
class Settings:
    """One run of the benchmark.

    Attributes:
        keys: types of the twins' keys; parts that need one take the first.
        protocols: between gateways and relays; parts that need one take the first.
        in_flight, payload_bytes: every pair of them is measured end to end.
        rounds: medians of so many.
        seconds: of each run of requests.
        scale: share of the envelopes that go through a relay by itself.
        idle_counts: sessions whose memory is looked at.
        watch_s: how long they are watched for the processor time that they take.
        crowd_counts: sessions beside which the throughput is measured: few, many.
        curve_sessions, curve_mailbox, curve_queued, curve_payload_bytes: where the points of the curves are.
        failover_requests: for each kind of failure.
        large_bytes: a payload that small messages have to pass.
    """

    keys: Sequence[KeyType] = ("sr25519", "ed25519")
    protocols: Sequence[str] = ("rmb.2", "rmb.1")
    in_flight: Sequence[int] = (LONE, SOME, MANY)
    payload_bytes: Sequence[int] = (100, KIB, 64 * KIB)
    rounds: int = 5
    seconds: float = 3.0
    scale: float = 1.0
    idle_counts: Sequence[int] = (1000, 10_000)
    watch_s: float = 5.0
    crowd_counts: tuple[int, int] = (100, 10_000)
    curve_sessions: Sequence[int] = (10, 100, 1000, 10_000)
    curve_mailbox: Sequence[int] = (10, 100, 1000, 10_000, 100_000)
    curve_queued: Sequence[int] = (1, 16, 256, 4096, 16_384)
    curve_payload_bytes: Sequence[int] = (100, KIB, 8 * KIB, 64 * KIB, 512 * KIB, 4096 * KIB)
    failover_requests: int = 500
    large_bytes: int = 16 * 1024 * KIB

    @property
    def loads(self) -> list[Load]:
        """What is asked end to end."""
        return [Load(count, size) for size in self.payload_bytes for count in self.in_flight]


FULL = Settings()
QUICK = Settings(
    keys=("sr25519",),
    protocols=("rmb.2",),
    payload_bytes=(100,),
    rounds=1,
    seconds=0.5,
    scale=0.1,
    idle_counts=(500,),
    watch_s=1.0,
    crowd_counts=(100, 500),
    curve_sessions=(10, 500),
    curve_mailbox=(10, 100, 1000),
    curve_queued=(1, 16, 256),
    curve_payload_bytes=(100, 8 * KIB, 64 * KIB),
    failover_requests=100,
)
"""A first look."""
