"""The end of everything that a gateway runs."""

import asyncio

from rmb_peer.stopping import Stopped, until_stopped


async def test_work_may_begin_while_everything_ends() -> None:
    """Parts have tasks of their own, which hear of the end later, and may ask for a look-up in that moment."""
    waiting, came = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def look_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("look-up")

    async with until_stopped() as tasks:

        async def receive() -> None:
            try:
                waiting.set()
                await came.wait()
                tasks.create_task(look_up())
                await asyncio.Event().wait()
            finally:
                ended.append("receive")

        async def part() -> None:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(receive())

        tasks.create_task(part())
        await waiting.wait()
        came.set()
        raise Stopped
    assert "receive" in ended
