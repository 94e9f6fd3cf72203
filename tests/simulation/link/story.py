"""One seeded story: gateways send while lines are cut and parts crash; then the world heals, and is judged.

`python -m tests.simulation.link.story SEED [COUNT]` tells how stories ended.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from rmb_peer.protocol.link.endings import FIRST_WINDOW
from tests.simulation.link.world import Conditions, Gateway, Relay, World

GATEWAYS = 3
SENDING_S = 20.0
HEALING_S = 200.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an onlooker counts at the end."""

    accepted: int
    missing: int
    doubled: int
    out_of_order: int
    left_behind: int
    """Entries still in an outbox or a mailbox."""
    repeats: int
    forwarded: int
    stored: int
    cuts: int
    crashes: int
    window_exceeded: int
    """Ends that held more than a window of envelopes."""

    @property
    def good(self) -> bool:
        return not (self.missing or self.doubled or self.out_of_order or self.left_behind or self.window_exceeded)


def tell(seed: int, conditions: Conditions | None = None) -> Verdict:
    """Run a story to its end."""
    conditions = conditions or Conditions()
    world = World(seed, conditions)
    relay = Relay(world)
    gateways = [Gateway(world, name, relay) for name in range(GATEWAYS)]
    parts: list[Relay | Gateway] = [relay, *gateways]
    counts = {"cuts": 0, "crashes": 0}
    for gateway in gateways:
        gateway.start()

    def repeat(mean_s: float, action: Callable[[], None]) -> None:
        def again() -> None:
            if world.now < SENDING_S:
                action()
                world.after(world.about(mean_s), again)

        world.after(world.about(mean_s), again)

    def send() -> None:
        burst = world.random.choice((1, 1, 1, 5, 40))
        gateway, receiver = world.random.choice(gateways), world.random.randrange(GATEWAYS)
        for _ in range(burst):
            gateway.take(receiver, world.random.choice((10, 300, 3000, 30_000)))

    def cut() -> None:
        line = relay.line_of(world.random.randrange(GATEWAYS))
        if line is not None:
            counts["cuts"] += 1
            line.cut()

    def crash() -> None:
        counts["crashes"] += 1
        world.random.choice(parts).crash()

    def slow() -> None:
        world.random.choice(parts).store.slow_until = world.now + world.about(1.0)

    repeat(0.05, send)
    repeat(conditions.cut_every_s, cut)
    repeat(conditions.crash_every_s, crash)
    repeat(conditions.slow_every_s, slow)
    world.run(SENDING_S + HEALING_S)
    return _judge(relay, gateways, counts["cuts"], counts["crashes"])


def _judge(relay: Relay, gateways: list[Gateway], cuts: int, crashes: int) -> Verdict:
    accepted = [message for gateway in gateways for message in gateway.taken]
    arrived = [message for gateway in gateways for message in gateway.delivered]
    out_of_order = 0
    for gateway in gateways:
        last: dict[int, int] = {}
        for message in gateway.delivered:
            out_of_order += message.number < last.get(message.sender, 0)
            last[message.sender] = message.number
    conditions = gateways[0].world.conditions
    sent_max = max(conditions.relay_window.messages, FIRST_WINDOW.messages)
    heard_max = max(conditions.gateway_window.messages, FIRST_WINDOW.messages)
    return Verdict(
        accepted=len(accepted),
        missing=len(set(accepted) - set(arrived)),
        doubled=len(arrived) - len(set(arrived)),
        out_of_order=out_of_order,
        left_behind=sum(len(g.outbox) for g in gateways) + sum(map(len, relay.mailboxes.values())),
        repeats=sum(gateway.repeats for gateway in gateways),
        forwarded=relay.forwarded,
        stored=relay.stored,
        cuts=cuts,
        crashes=crashes,
        window_exceeded=sum((g.unended_max > sent_max) + (g.unsettled_max > heard_max) for g in gateways)
        + (relay.direct_max > conditions.direct_max),
    )


def main() -> int:
    """Tell COUNT stories from SEED on; 1 when one ended badly."""
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    bad = 0
    for seed in range(first, first + (int(sys.argv[2]) if len(sys.argv) > 2 else 1)):
        verdict = tell(seed)
        bad += not verdict.good
        print(f"seed {seed}: {'good' if verdict.good else 'BAD'} {verdict}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
