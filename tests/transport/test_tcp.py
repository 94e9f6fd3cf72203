"""What a TCP connection tells about its progress, on both event loops that the programs may run on."""

import asyncio
import sys
from collections.abc import Callable

import pytest
import uvloop

from rmb_peer.transport.tcp import arriving_at, limit_unsent, silent_s


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_that_is_gone_tells_nothing(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Asking is no error: whoever reads from it finds out."""

    async def ask() -> None:
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
            limit_unsent(transport)
            assert (silent_s(transport) is not None) == (sys.platform == "linux")
            transport.abort()
            while not transport.is_closing() or silent_s(transport) is not None:
                await asyncio.sleep(0)
            limit_unsent(transport)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(ask(), 60))


def test_bytes_of_an_unfinished_frame() -> None:
    """They came some time after the last whole frame; what is unknown counts as none."""
    assert arriving_at(100.0, 90.0, 2.0) == 98.0
    assert arriving_at(100.0, 98.0, 2.0) < 98.0
    assert arriving_at(100.0, 90.0, None) < 90.0
