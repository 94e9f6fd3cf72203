"""The stand-in as a WebSocket server on loopback, with faults between it and its clients."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.chain import faults as fault
from tests.support.chain.faults import Faults
from tests.support.chain.node import Node, Refused
from tests.support.chain.rpc import Session

HOST = "127.0.0.1"
REQUEST_BYTES_MAX = 16 * 2**20
"""As nodes have it by default."""


class StandIn(Node):
    """A node that listens.

    Attributes:
        url: where clients connect; it stays the same while the node is away.
        faults: what goes wrong at the moment.
        clients: how many are connected.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.faults = Faults()
        self.url = ""
        self._port = 0
        self._server: Server | None = None
        self._doors: set[_Door] = set()

    @property
    def clients(self) -> int:
        """How many connections are open."""
        return len(self._doors)

    async def listen(self, port: int = 0) -> None:
        """Be reachable; a second time on the same port as before."""
        self._server = await serve(
            self._serve, HOST, port or self._port, max_size=REQUEST_BYTES_MAX, compression=None, ping_interval=None
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://{HOST}:{self._port}"

    async def go_away(self) -> None:
        """Cut all connections and listen no more; the chain stays as it is until `listen`."""
        self.drop_connections()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    @asynccontextmanager
    async def mirror(self) -> AsyncIterator["StandIn"]:
        """A second node of the same chain, for those who read: with a URL and faults of its own."""
        other = copy.copy(self)
        other.faults, other._server, other._doors, other._port = Faults(), None, set(), 0
        await other.listen()
        try:
            yield other
        finally:
            other.faults.clear()
            await other.go_away()

    def drop_connections(self) -> None:
        """Cut all connections, without a closing handshake."""
        for door in tuple(self._doors):
            door.cut()

    async def _serve(self, connection: ServerConnection) -> None:
        door = _Door(self, connection)
        self._doors.add(door)
        try:
            await door.run()
        finally:
            self._doors.discard(door)


class _Door:
    """One client."""

    def __init__(self, node: StandIn, connection: ServerConnection) -> None:
        self._node = node
        self._connection = connection
        self._session = Session(node, self._notify)
        self._out: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._slow: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._connection:
                self._receive(message)
        except ConnectionClosed:
            pass
        finally:
            self._session.close()
            tasks = [writer, *self._slow]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset the connection."""
        self._connection.transport.abort()

    async def _write(self) -> None:
        try:
            while True:
                await self._connection.send(await self._out.get())
        except ConnectionClosed:
            pass

    def _receive(self, message: str | bytes) -> None:
        try:
            request = json.loads(message)
        except ValueError:
            self._send({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}})
            return
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            self._send({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Invalid request"}})
            return
        action = self._node.faults.take(request["method"])
        if isinstance(action, fault.Delay | fault.Hold):
            task = asyncio.create_task(self._answer_late(request, action))
            self._slow.add(task)
            task.add_done_callback(self._slow.discard)
        elif isinstance(action, fault.Drop):
            self._answer_broken(request, action)
        elif isinstance(action, fault.Raw):
            self._out.put_nowait(action.text)
        elif isinstance(action, fault.Result):
            self._send({"jsonrpc": "2.0", "id": request.get("id"), "result": action.value})
        elif isinstance(action, fault.Fail):
            self._send(_failed(request, Refused(action.code, action.message, action.data)))
        elif action is None:
            self._answer(request)

    def _answer(self, request: dict[str, Any]) -> None:
        self._send(self._carry_out(request))
        for act in self._session.after:
            act()
        self._session.after.clear()

    def _carry_out(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            result = self._session.call(request["method"], request.get("params") or [])
        except Refused as refused:
            return _failed(request, refused)
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}

    async def _answer_late(self, request: dict[str, Any], action: fault.Delay | fault.Hold) -> None:
        if isinstance(action, fault.Delay):
            await asyncio.sleep(action.seconds)
        else:
            action.reached.set()
            await action.release.wait()
        self._answer(request)

    def _answer_broken(self, request: dict[str, Any], action: fault.Drop) -> None:
        if action.when != "before":
            answer = json.dumps(self._carry_out(request)).encode()
            if action.when == "midway":  # a text frame that says it is longer than what follows
                size = len(answer).to_bytes(8)
                self._connection.transport.write(b"\x81\x7f" + size + answer[: len(answer) // 2])
                self._connection.transport.close()  # what was written goes out first
                return
        self.cut()

    def _notify(self, method: str, subscription: str, result: Any) -> None:
        action = self._node.faults.take(method, is_request=False)
        if isinstance(action, fault.Ignore):
            return
        if isinstance(action, fault.Drop):
            self.cut()
        elif isinstance(action, fault.Raw):
            self._out.put_nowait(action.text)
        else:
            if isinstance(action, fault.Result):
                result = action.value
            self._send({"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": result}})

    def _send(self, message: dict[str, Any]) -> None:
        self._out.put_nowait(json.dumps(message))


def _failed(request: dict[str, Any], refused: Refused) -> dict[str, Any]:
    error: dict[str, Any] = {"code": refused.code, "message": refused.message}
    if refused.data is not None:
        error["data"] = refused.data
    return {"jsonrpc": "2.0", "id": request.get("id"), "error": error}


@asynccontextmanager
async def stand_in_node(port: int = 0, **options: Any) -> AsyncIterator[StandIn]:
    """A running stand-in; `options` are those of `Node`."""
    node = StandIn(**options)
    await node.listen(port)
    try:
        yield node
    finally:
        node.close()
        node.faults.clear()
        await node.go_away()
