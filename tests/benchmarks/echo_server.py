"""A plain WebSocket echo with the library of the relay: what moving a message costs when nothing is done about it.

    python -m tests.benchmarks.echo_server

Prints its URL, and runs until it is ended.
"""

import asyncio
from importlib import import_module

from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def main() -> None:
    """Serve for ever."""
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"ws://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        new_loop = import_module("uvloop").new_event_loop
    except ImportError:
        new_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as loop:
        loop.run(main())
