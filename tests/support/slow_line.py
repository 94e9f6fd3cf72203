"""A TCP line of a given speed in front of a server on this machine."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PIECE_BYTES = 16 * 1024


@asynccontextmanager
async def slow_line(port: int, bytes_per_s: float) -> AsyncIterator[int]:
    """Forward a new port to `port`, towards the server at most at this speed; yields the new port."""

    async def upwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(len(data) / bytes_per_s)  # this is what makes the line slow
        writer.close()

    async def downwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port, limit=_PIECE_BYTES)
        ends = await asyncio.gather(
            upwards(reader, server_writer), downwards(server_reader, writer), return_exceptions=True
        )
        assert all(end is None or isinstance(end, ConnectionError) for end in ends)
        server_writer.close()
        writer.close()

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE_BYTES)  # else the kernel takes it all at once
        listener.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(serve, sock=listener, limit=_PIECE_BYTES) as server:
            yield listener.getsockname()[1]
            server.close()
