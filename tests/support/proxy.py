"""A TCP proxy in front of a server, which can be told to lose things: what a bad network does to a client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Forwards bytes until told otherwise.

    Attributes:
        url: for Redis clients.
        down: new connections are closed at once.
        lose_replies: what the server answers is thrown away, and the connection is cut instead.
        losses: how often that happened.
    """

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.down = False
        self.lose_replies = 0
        self.losses = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket_path)
        self._writers |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, server_writer))
                tasks.create_task(self._pump_back(server_reader, writer))
        finally:
            for end in (writer, server_writer):
                end.close()
                self._writers.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def _pump_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self.lose_replies:
                    self.lose_replies -= 1
                    self.losses += 1
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    def cut(self) -> None:
        """Break all connections; new ones fail, too, until `down` is reset."""
        self.down = True
        for writer in tuple(self._writers):
            writer.close()


@asynccontextmanager
async def proxy(valkey_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of a Valkey that listens on a Unix socket."""
    door = Proxy(valkey_url.removeprefix("unix://"))
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0)
    door.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield door
    finally:
        door.cut()
        server.close()
        await server.wait_closed()
