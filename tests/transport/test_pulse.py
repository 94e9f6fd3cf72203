"""The pings of one connection: what they measure."""

import asyncio
from typing import Any

from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.transport.pulse import Pulse


class Line:
    """A socket whose pongs come when told, with the figure that a coarse clock gives."""

    def __init__(self) -> None:
        self.pinged: asyncio.Queue[asyncio.Future[float]] = asyncio.Queue()
        self.transport = self

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> "Line":
        return self

    def getsockopt(self, *option: int) -> bytes:
        raise OSError("not a system's socket")

    async def ping(self, data: bytes) -> asyncio.Future[float]:
        pong = asyncio.get_running_loop().create_future()
        self.pinged.put_nowait(pong)
        return pong


async def test_a_round_trip_is_measured_with_our_own_clock() -> None:
    """An event loop's clock may count whole milliseconds; a loopback line is faster than that."""
    line: Any = Line()
    now_s = 100.0
    confirmed: list[list[int]] = []
    pulse: Pulse[int] = Pulse(line, Rhythm(), lambda: now_s, confirmed.append)
    pulse.writes(10, 7)
    running = asyncio.create_task(pulse.run())
    try:
        now_s = 200.0  # long after the ping is due
        pulse.soon()
        pong = await asyncio.wait_for(line.pinged.get(), 60)
        now_s = 200.0004
        pong.set_result(0.0)
        while pulse.round_trip_s is None:
            await asyncio.sleep(0)
        assert abs(pulse.round_trip_s - 0.0004) < 1e-6
        assert confirmed == [[7]]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
