"""One end of a WebSocket with one library, in a process of its own: what is measured by `websocket_libraries`.

    python -m tests.benchmarks.websocket_ends client|server LIBRARY

A server prints its port, and then, for each line of standard input, the processor seconds that it has used. A client
gets `PORT SIZE_BYTES BURST TIMES` per line, sends so many bursts, takes one back after each, and prints the processor
seconds which that took.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, cast

import aiohttp
import picows
import uvloop
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol as SansIo
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from relay.websocket import ClientSocket
from rmb_peer.transport.client_socket import ClientSocket as GatewaySocket
from rmb_peer.transport.client_socket import dial
from rmb_peer.transport.websocket.splitter import BINARY


class Messages(Protocol):
    """A client's connection."""

    async def send(self, data: bytes) -> None: ...

    async def recv(self) -> object: ...


# --- websockets, as it is usually used --------------------------------------------------------------------------------


async def websockets_client(port: int, path: str) -> Messages:
    return await connect(f"ws://127.0.0.1:{port}{path}", compression=None, ping_interval=None, max_size=2**24)


async def _websockets_echo(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def websockets_server() -> int:
    server = await serve(_websockets_echo, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=2**24)
    return int(next(iter(server.sockets)).getsockname()[1])


# --- websockets' protocol under a transport of our own, one write per turn of the loop --------------------------------


class _Bare(asyncio.Protocol):
    """`websockets` without its connections: no tasks, locks and futures but one."""

    def __init__(self, protocol: SansIo) -> None:
        self.protocol = protocol
        self.loop = asyncio.get_running_loop()
        self.came: deque[bytes] = deque()
        self.waiter = self.loop.create_future()
        self.opened = self.waiter
        self.flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if isinstance(self.protocol, ClientProtocol):
            self.protocol.send_request(self.protocol.connect())
            self.flush()

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.BINARY:
                    self.message(bytes(event.data))
            elif isinstance(self.protocol, ServerProtocol):
                self.protocol.send_response(self.protocol.accept(cast(Request, event)))
                self.flush()
            else:
                self.wake()

    def wake(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)

    def message(self, data: bytes) -> None:
        self.came.append(data)
        self.wake()

    async def recv(self) -> bytes:
        while not self.came:
            self.waiter = self.loop.create_future()
            await self.waiter
        return self.came.popleft()

    async def send(self, data: bytes) -> None:
        self.write(data)

    def write(self, data: bytes) -> None:
        self.protocol.send_binary(data)
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self.flushing = False
        self.transport.write(b"".join(self.protocol.data_to_send()))


class _BareEcho(_Bare):
    def message(self, data: bytes) -> None:
        self.write(data)


async def bare_client(port: int, path: str) -> Messages:
    loop = asyncio.get_running_loop()
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}{path}"), max_size=2**24)
    _, bare = await loop.create_connection(lambda: _Bare(protocol), "127.0.0.1", port)
    await bare.opened
    return bare


async def bare_server() -> int:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _BareEcho(ServerProtocol(max_size=2**24)), "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


# --- aiohttp ----------------------------------------------------------------------------------------------------------


class _Aiohttp:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.send = socket.send_bytes
        self.recv = socket.receive_bytes


async def aiohttp_client(port: int, path: str) -> Messages:
    session = aiohttp.ClientSession()
    return _Aiohttp(await session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=2**24))


async def _aiohttp_echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False, max_msg_size=2**24, autoping=False)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


async def aiohttp_server() -> int:
    return await _aiohttp_app(_aiohttp_echo)


async def _aiohttp_app(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> int:
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


# --- picows -----------------------------------------------------------------------------------------------------------


class _Picows(picows.WSListener):
    def __init__(self) -> None:
        self.came: deque[bytes] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self.came.append(frame.get_payload_as_bytes())
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def recv(self) -> bytes:
        while not self.came:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.came.popleft()

    async def send(self, data: bytes) -> None:
        self.transport.send(picows.WSMsgType.BINARY, data)


class _PicowsEcho(picows.WSListener):
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        transport.send(picows.WSMsgType.BINARY, frame.get_payload_as_bytes())


async def picows_client(port: int, path: str) -> Messages:
    _, listener = await picows.ws_connect(_Picows, f"ws://127.0.0.1:{port}{path}", max_frame_size=2**24)
    return cast(_Picows, listener)


async def picows_server() -> int:
    server = await picows.ws_create_server(lambda _: _PicowsEcho(), "127.0.0.1", 0, max_frame_size=2**24)
    return int(server.sockets[0].getsockname()[1])


# --- ours: plain frames by `rmb_peer/transport/websocket`, the rest by `websockets` ----------------------------------


class _Ours:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = cast(GatewaySocket, socket)

    async def send(self, data: bytes) -> None:
        await self._socket.send(data, more=True)

    async def recv(self) -> object:
        self._socket.flush()
        return await self._socket.recv()


async def our_client(port: int, path: str) -> Messages:
    return _Ours(await dial(f"ws://127.0.0.1:{port}{path}", (), 2**24))


async def _our_echo(request: web.Request) -> web.StreamResponse:
    socket = await ClientSocket.accept(request, 2**24)
    with suppress(ConnectionError):
        while (heard := await socket.receive())[0] == BINARY:
            await socket.send(heard[1], more=socket.unread > 0)
    return web.Response()


async def our_server() -> int:
    return await _aiohttp_app(_our_echo)


CLIENTS: dict[str, Callable[[int, str], Awaitable[Messages]]] = {
    "websockets": websockets_client,
    "websockets, bare": bare_client,
    "aiohttp": aiohttp_client,
    "picows": picows_client,
    "ours": our_client,
}
SERVERS: dict[str, Callable[[], Awaitable[int]]] = {
    "websockets": websockets_server,
    "websockets, bare": bare_server,
    "aiohttp": aiohttp_server,
    "picows": picows_server,
    "ours": our_server,
}


async def as_client(library: str) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        port, size_bytes, burst, times = map(int, line.split())
        messages = await CLIENTS[library](port, f"/{size_bytes}/{burst}")
        data = bytes(size_bytes)
        before_s = time.process_time()
        for _ in range(times):
            for _ in range(burst):
                await messages.send(data)
            for _ in range(burst):
                await messages.recv()
        print(time.process_time() - before_s, flush=True)


async def as_server(library: str) -> None:
    print(await SERVERS[library](), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(time.process_time(), flush=True)


if __name__ == "__main__":
    uvloop.run({"client": as_client, "server": as_server}[sys.argv[1]](sys.argv[2]))
