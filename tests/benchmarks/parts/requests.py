"""A case of requests over a route, with the floor measured beside it."""

from rmb_peer.protocol.signatures import KeyType
from tests.benchmarks.end_to_end import Load, Route
from tests.benchmarks.floor_run import Floors
from tests.benchmarks.rounds import Case, Figures
from tests.benchmarks.settings import LONE

FLOOR_SHARE = 0.1
"""Time for the floor, as a share of that for the requests."""

WARM_S = 0.5
TURN_S = 0.1
"""Around a run: asking for counts, the last answers."""


def request_case(
    group: str, name: str, way: Route, floors: Floors, key: KeyType, load: Load, seconds: float, x: float | None = None
) -> Case:
    """One case.

    Args:
        group: of the case.
        name: of the case.
        way: what is measured.
        floors: what it is compared with: idle for a lone request, else busy.
        key: of both twins.
        load: what is asked.
        seconds: of requests; what is in flight then is waited for.
        x: where it is on a curve.
    """

    async def run() -> Figures:
        measure = floors.idle_s if load.in_flight == LONE else floors.busy_s
        floor_s = await measure(key, load.payload_bytes, seconds * FLOOR_SHARE)
        seen = await way.run(load, seconds)
        return {
            **({} if x is None else {"x": x}),
            "in_flight": load.in_flight,
            "payload_bytes": load.payload_bytes,
            "per_s": seen.per_s,
            "p50_ms": seen.p50_s * 1000,
            "p99_ms": seen.p99_s * 1000,
            **{f"{role}_us": used * 1e6 for role, used in seen.cpu_s.items()},
            "floor_us": floor_s * 1e6,
            "cpu_by_floor": sum(seen.cpu_s.values()) / floor_s,
            "commands": seen.commands,
            "frames": seen.frames,
        }

    return Case(group, name, run)


def run_s(seconds: float) -> float:
    """Time that one case takes, roughly."""
    return seconds * (1 + FLOOR_SHARE) + TURN_S


def bytes_text(count: int) -> str:
    """A size for people."""
    for factor, unit in ((2**20, "MiB"), (2**10, "KiB")):
        if count >= factor:
            return f"{count / factor:g} {unit}"
    return f"{count} B"
