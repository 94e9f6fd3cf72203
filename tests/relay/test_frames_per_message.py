"""How many frames of rmb.2 a message costs: counts, which do not depend on the machine."""

import pytest

from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE
from tests.support.link_client import LinkClient, link_client
from tests.support.relay import TestBed, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = 50


def frames(bed: TestBed) -> tuple[int, int]:
    metrics = bed.app.metrics
    return metrics.link_frames_in, metrics.link_frames_out


async def pass_on(source: LinkClient, target: LinkClient, envelope: Envelope) -> None:
    """As a gateway: what was settled since goes with the envelope."""
    await source.send(envelope)
    number, arrived = await target.receive()
    assert arrived.uid == envelope.uid
    target.link.settle(number, IS_SAFE)


async def test_a_request_and_its_answer_cost_four_frames(bed: TestBed) -> None:
    """Two in, two out: each acknowledgement travels with the next envelope, also through the relay."""
    async with link_client(bed, 7, auto=False) as a, link_client(bed, 9, auto=False) as b:
        await a.warm()
        await b.warm()
        await a.flush()
        await b.flush()
        came, left = frames(bed)
        for number in range(ROUNDS):
            await pass_on(a, b, request(7, 9, f"ask{number}"))
            await pass_on(b, a, request(9, 7, f"answer{number}"))
        came, left = (now - before for now, before in zip(frames(bed), (came, left), strict=True))
        # What warming up left to be said may cost a frame or two.
        assert 2 * ROUNDS <= came <= 2 * ROUNDS + 2
        assert 2 * ROUNDS <= left <= 2 * ROUNDS + 2
        await a.flush()
        assert await b.outcome(f"answer{ROUNDS - 1}") == IS_AT_PEER
