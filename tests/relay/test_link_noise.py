"""Whatever a signed-in client of rmb.2 sends: every envelope ends once, or the connection ends with 1002."""

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from relay.acknowledged_intake import AcknowledgedIntake
from relay.delivery import Delivery
from relay.exchange import Exchange
from relay.handover import Parcel
from relay.limits import RateLimiter
from relay.memory_mailboxes import MemoryMailboxes
from relay.metrics import Metrics
from relay.sessions import Sessions
from relay.switch import Refusal
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.link.endings import Outcome
from rmb_peer.protocol.pb import link_pb2 as pb
from tests.relay.test_noise import NOW_S, frames
from tests.support.link_client import link_client
from tests.support.relay import DOMAIN, Directory, TestBed, request, until


class Ear:
    """Counts how often each envelope ends."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    def settle(self, number: int, outcome: Outcome) -> None:
        self.ended.append(number)

    def refuse(self, number: int, refusal: Refusal) -> None:
        assert refusal.text
        self.ended.append(number)

    def pong(self, pong: Parcel) -> None:
        self.ended.append(pong.number)


@settings(max_examples=150, deadline=None)
@given(st.lists(frames, max_size=8), st.booleans())
def test_any_envelopes(data: list[bytes], limited: bool) -> None:
    """Each ends exactly once, whatever it is."""

    async def play() -> None:
        limiter = RateLimiter(3, 100, 10)
        limiter.connect(7)
        metrics, sessions = Metrics(), Sessions(10)
        shared = Exchange(
            delivery=Delivery(MemoryMailboxes(), sessions, metrics),
            lookup=Directory(7, 9),
            domains=frozenset({DOMAIN}),
            limiter=limiter if limited else None,
            metrics=metrics,
            now_s=lambda: NOW_S,
        )
        ear = Ear()
        async with asyncio.TaskGroup() as tasks:
            spawn: Callable[[Coroutine[None, None, None]], object] = tasks.create_task
            intake = AcknowledgedIntake(Address(7), shared, ear, spawn, message_bytes_max=50)
            intake.take(list(enumerate(data, 1)))
            await asyncio.wait_for(intake.room(), 5)
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(ear.ended) == list(range(1, len(data) + 1))

    asyncio.run(play())


def mutilated(rng: random.Random, first: int) -> bytes:
    """A frame that was good, with some of its bytes changed, or only noise."""
    frame = pb.Frame(first=first, safe=rng.choice((0, 0, 1, 2**63)))
    frame.envelopes.extend(request(7, rng.choice((7, 9, 0)), f"u{n}").SerializeToString() for n in range(3))
    if rng.random() < 0.5:
        frame.window.messages, frame.window.size_bytes = rng.choice((0, 5, 2**32 - 1)), rng.choice((0, 5, 2**64 - 1))
    if rng.random() < 0.3:
        frame.outcomes.add(first=rng.choice((0, 1, 2**64 - 1)), more=rng.choice((0, 1, 2**64 - 1)), code=2**32 - 1)
    data = bytearray(frame.SerializeToString())
    for _ in range(rng.choice((0, 0, 1, 3, 50))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data) if rng.random() < 0.9 else rng.randbytes(rng.randrange(100))


@pytest.mark.asyncio(loop_scope="module")
async def test_any_frames(bed: TestBed) -> None:
    """The relay lives on, nothing stays registered, and a well-behaved pair beside it is not disturbed."""
    rng = random.Random(5)
    async with link_client(bed, 9) as calm:
        await calm.warm()
        for _ in range(100):
            async with bed.client(7, subprotocols=["rmb.2"]) as client:
                try:
                    for number in range(3):
                        await client.send(mutilated(rng, 3 * number + 1))
                except ConnectionClosed as closed:
                    assert closed.rcvd is None or closed.rcvd.code == 1002
        await until(lambda: bed.app.metrics.sessions() == 1)
        await calm.send(request(9, 9, "still here"))
        await calm.outcome("still here")
    assert bed.app.metrics.refusals["link_broken"] > 50
