"""A connection outlives the request that began it: aiohttp forgets the request, and the WebSocket misses nothing."""

import asyncio
import gc
import logging

import pytest
from aiohttp.web import Request

from relay.connection import Connection
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import parse_envelope
from tests.support.relay import PATIENCE_S, TestBed, receive, request, send, token, until, upgrade_request

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_frames_that_come_with_the_handshake_count(bed: TestBed) -> None:
    """Sent in one piece with it, before the request has ended; and frames come back."""
    host, _, port = bed.app.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    ping = request(7, 9, "u-1")
    ping.ping.SetInParent()
    data = ping.SerializeToString()
    assert len(data) < 126 or len(data) < 2**16
    size = bytes((0x80 | len(data),)) if len(data) < 126 else bytes((0x80 | 126,)) + len(data).to_bytes(2)
    writer.write(upgrade_request(f"/?{token(Address(7))}") + b"\x82" + size + bytes(4) + data)
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        opcode, length = await reader.readexactly(2)
        size_bytes = int.from_bytes(await reader.readexactly(2)) if length == 126 else length
        pong = parse_envelope(await reader.readexactly(size_bytes))
    writer.close()
    await writer.wait_closed()
    assert opcode == 0x82
    assert (pong.uid, pong.WhichOneof("message")) == ("u-1", "pong")


async def test_the_request_is_gone_while_the_session_lives(bed: TestBed) -> None:
    """Neither a request nor one of aiohttp's tasks is left of a handshake."""
    async with bed.client(7) as client:
        await until(lambda: len(bed.app.metrics.text()) and bed.app.metrics.sessions() == 1)

        def requests() -> int:
            gc.collect()
            return sum(isinstance(item, Request) for item in gc.get_objects())

        await until(lambda: requests() == 0)
        names = [str(task.get_coro()) for task in asyncio.all_tasks()]
        assert not [name for name in names if "RequestHandler.start" in name]
        await send(client, request(7, 0))
        assert (await receive(client)).error.message == "message with missing destination"


async def test_a_session_that_fails_is_told_and_cut(
    bed: TestBed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect of ours ends one session, with a trace in the log, and nothing else."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    caplog.set_level(logging.ERROR)
    async with bed.client(9) as other, bed.client(7) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "_frame", fail)
            await send(client, request(7, 9))
            async with asyncio.timeout(PATIENCE_S):
                await client.wait_closed()
        await until(lambda: bed.app.metrics.sessions() == 1)
        await send(other, request(9, 0))
        assert (await receive(other)).error.message == "message with missing destination"
    assert [record.message for record in caplog.records] == ["a session failed"]
    assert caplog.records[0].exc_info is not None
