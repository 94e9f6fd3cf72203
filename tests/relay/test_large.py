"""Large envelopes through the relay: in parts to who takes them, and never in the way of others."""

import os

import pytest

from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.large_envelope import destination_twin
from rmb_peer.protocol.link.endings import IS_AT_PEER, Ending
from rmb_peer.protocol.link.parts import PART_BYTES
from tests.support.link_client import link_client
from tests.support.relay import TestBed, request, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("whole", [True, False])
async def test_the_largest_one_crosses_with_others_before_and_behind(bed: TestBed, whole: bool) -> None:
    """Intact, in order, and settled by its destination; sent in one frame or in parts."""
    conversation = None if whole else destination_twin
    async with link_client(bed, 7, conversation=conversation) as a, link_client(bed, 9) as b:
        await b.warm()
        await until(lambda: a.link.outgoing.takes_parts)
        payload = os.urandom(MESSAGE_BYTES_MAX - 1024)
        await a.send(request(7, 9, "before"), request(7, 9, "large", payload=payload), request(7, 9, "behind"))
        came = [(await b.receive())[1] for _ in range(3)]
        assert [envelope.uid for envelope in came] == ["before", "large", "behind"]
        assert came[1].plain == payload
        for uid in ("before", "large", "behind"):
            assert await a.outcome(uid) == IS_AT_PEER


async def test_one_that_is_too_large_is_refused_by_itself(bed: TestBed) -> None:
    """In parts it gets as far as the refusal, and the link goes on."""
    async with link_client(bed, 7, conversation=destination_twin) as a, link_client(bed, 9) as b:
        await b.warm()
        await until(lambda: a.link.outgoing.takes_parts)
        await a.send(request(7, 9, "large", payload=bytes(MESSAGE_BYTES_MAX + 4 * PART_BYTES)))
        assert (await a.outcome("large")).ending is Ending.REFUSED
        await a.send(request(7, 9, "next"))
        assert await b.receive_uids(1) == ["next"]
