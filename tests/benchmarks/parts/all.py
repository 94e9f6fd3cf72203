"""All parts, in the order in which they run."""

from tests.benchmarks.parts import curves, end_to_end, failover, federation, large, relay, sessions

PARTS = {
    part.name: part
    for part in (
        end_to_end.PART,
        relay.PART,
        sessions.PART,
        federation.PART,
        large.PART,
        curves.PART,
        failover.PART,
    )
}
