"""A message of the relay to itself: it takes the whole way, and nobody can pretend to be its sender or write to it."""

import time
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from relay.federation.inbound_settings import InboundSettings
from relay.probe import PROBE_TWIN, Probe, ProbeFailed, ProbeIdentity
from rmb_peer.protocol.address import Address
from tests.support.proxy import proxy
from tests.support.relay import Directory, TestBed, receive_error, relay, request, send, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def probe_of(bed: TestBed, identity: ProbeIdentity | None = None) -> Probe:
    return Probe(
        identity or bed.app._probe_identity,
        bed.app.url,
        now_s=time.time,
        clock=time.monotonic,
    )


async def test_it_comes_through_and_leaves_nothing(bed: TestBed) -> None:
    """Stored, delivered, confirmed, deleted; twice in a row; and neither session is worth a line at info."""
    probe, metrics = probe_of(bed), bed.app.metrics
    times = sum(metrics.written.counts), sum(metrics.confirmed.counts)
    for count in (1, 2):
        before = bed.app.metrics.confirmations
        assert await probe() > 0
        await until(lambda before=before: bed.app.metrics.confirmations == before + 1)  # type: ignore[misc]
        await bed.app.mailboxes.idle()
        assert await bed.waiting(str(bed.app._probe_identity.owner)) == [], count
    assert (sum(metrics.written.counts), sum(metrics.confirmed.counts)) == (times[0] + 2, times[1] + 2)


async def test_readyz_tells(bed: TestBed) -> None:
    """200 with the time that it took."""
    async with aiohttp.ClientSession() as session, session.get(f"{bed.http}/readyz") as answer:
        assert answer.status == 200
        value = await answer.json()
    assert value["status"] == "ready" and value["latency_ms"] > 0


async def test_nobody_else_signs_in_as_the_probe(bed: TestBed) -> None:
    """The signature of another key opens nothing, in whichever session."""
    for session in (None, bed.app._probe_identity.owner.session):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{bed.app.url}/?{token(Address(PROBE_TWIN, session))}"):
                pass
        assert refused.value.response.status_code == 401
    with pytest.raises(ProbeFailed) as failed:
        await probe_of(bed, ProbeIdentity())()  # another process's
    assert (failed.value.step, str(failed.value)) == ("sign in", "answered with status 401")


async def test_nobody_writes_to_the_probe(tmp_path: Path) -> None:
    """As a destination it is unknown, and no other relay can post to it."""
    async with relay(tmp_path, Directory(7), inbound=InboundSettings(open_to_all=True)) as bed:
        owner = str(bed.app._probe_identity.owner)
        async with bed.client(7) as client:
            for destination in (str(PROBE_TWIN), owner):
                await send(client, request(7, destination))
                assert await receive_error(client) == "unknown twin destination"
        data = request(7, owner).SerializeToString()
        async with aiohttp.ClientSession() as session, session.post(bed.http, data=data) as answer:
            assert (answer.status, await answer.text()) == (400, "bad request: unknown twin destination")
        assert await bed.waiting(owner) == []


async def test_processes_of_one_relay_share_an_identity(bed: TestBed) -> None:
    """From one seed the same key, and sessions of their own."""
    one, other = ProbeIdentity(bytes(32)), ProbeIdentity(bytes(32))
    assert one.twin == other.twin
    assert one.owner != other.owner


async def test_the_step_that_failed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away: it cannot be stored. A relay that is away: no connection."""
    async with relay(tmp_path, Directory(7), through=proxy, store_patience_s=600.0) as bed:
        probe = probe_of(bed)
        await probe()
        bed.proxy.cut()
        monkeypatch.setattr("relay.probe.PROBE_S_MAX", 0.5)
        with pytest.raises(ProbeFailed) as failed:
            await probe()
        assert (failed.value.step, str(failed.value)) == ("store", "not done within 0.5 s")
        bed.proxy.down = False
        monkeypatch.setattr("relay.probe.PROBE_S_MAX", 60.0)
        await probe()
    with pytest.raises(ProbeFailed) as failed:
        await probe()
    assert failed.value.step == "connect"
