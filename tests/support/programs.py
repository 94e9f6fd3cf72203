"""Our programs as real processes, and a small network made of them."""

import asyncio
import base64
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.local import keys
from tests.support.gateways import request_json, response_json

START_S = 90.0
"""Longest wait for a program to say that it runs; imports and a chain's metadata take long on a loaded machine."""

STOP_S = 60.0
LOG_LINES_KEPT = 50


class Program:
    """A process of ours that logs JSON lines on standard error.

    Attributes:
        events: every line so far, parsed; what is no JSON is kept as {"event": line}.
    """

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.arguments = arguments
        self.events: list[dict[str, Any]] = []
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        self.events = []
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self.arguments,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        self._reader = asyncio.create_task(self._read())

    async def event(self, text: str, **fields: Any) -> dict[str, Any]:
        """The first line with this text and these fields, waiting for it."""

        def matches(line: dict[str, Any]) -> bool:
            return line.get("event") == text and all(line.get(name) == value for name, value in fields.items())

        assert self._reader is not None
        async with self._changed:
            try:
                async with asyncio.timeout(START_S):
                    await self._changed.wait_for(
                        lambda: any(map(matches, self.events)) or (self._reader is not None and self._reader.done())
                    )
            except TimeoutError:
                raise AssertionError(f"{self.arguments[0]}: no {text!r} in {self.events[-LOG_LINES_KEPT:]}") from None
        found = next(filter(matches, self.events), None)
        assert found is not None, f"{self.arguments[0]} ended: {self.events[-LOG_LINES_KEPT:]}"
        return found

    async def ended(self) -> int:
        """The exit code, waiting for the end."""
        assert self._process is not None
        assert self._reader is not None
        async with asyncio.timeout(STOP_S):
            code = await self._process.wait()
            await self._reader
        return code

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL: no chance to write anything."""
        await self.stop(signal.SIGKILL)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            try:
                value = json.loads(line)
            except ValueError:
                value = {"event": line.decode(errors="replace").rstrip()}
            async with self._changed:
                self.events.append(value)
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()


class RelayProgram(Program):
    """`rmb-relay` with its data folder; keeps its port over restarts."""

    def __init__(self, folder: Path, *flags: str, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self.flags = flags
        super().__init__("relay")

    @property
    def url(self) -> str:
        return f"ws://localhost:{self.port}"

    async def start(self) -> None:
        self.arguments = (
            "relay",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--data",
            str(self.folder),
            "--log-format",
            "json",
            *self.flags,
        )
        await super().start()
        listening = await self.event("listening")
        self.port = int(str(listening["address"]).rpartition(":")[2])


class GatewayProgram(Program):
    """`rmb-peer` with an identity and a store of its own.

    Attributes:
        protocol: what it speaks with relays of ours; as "rmb.1" it is a gateway that knows nothing else.
    """

    def __init__(
        self, relay_urls: list[str], redis_url: str, secret: str, *flags: str, protocol: str = "rmb.2"
    ) -> None:
        relays = [word for url in relay_urls for word in ("--relay", url)]
        super().__init__(
            "rmb_peer" if protocol == "rmb.2" else "tests.support.rmb1_gateway",
            "--redis",
            redis_url,
            *relays,
            "--log-format",
            "json",
            *flags,
            env={"RMB_MNEMONIC": secret},
        )
        self.protocol = protocol
        self.twin = 0

    async def start(self) -> None:
        await super().start()
        self.twin = int((await self.event("gateway runs"))["twin"])

    async def connected(self) -> None:
        await self.event("now connected", protocol=self.protocol)


class Site:
    """One gateway, its Valkey, and what local programs do there."""

    def __init__(self, gateway: GatewayProgram, store: EmbeddedValkey) -> None:
        self.gateway = gateway
        self.store = store
        self.redis: Any = Redis.from_url(store.url, socket_timeout=None)  # a loaded machine is not a failure
        self._services: list[asyncio.Task[None]] = []

    @property
    def twin(self) -> int:
        return self.gateway.twin

    async def push(self, *destinations: int, ret: str = "my-ret", **changes: Any) -> None:
        """What a client does (spec rmb 5.2)."""
        await self.redis.lpush("msgbus.system.local", request_json(*destinations, ret=ret, **changes))

    async def pop(self, ret: str = "my-ret", timeout_s: float = 60.0) -> dict[str, Any]:
        """The oldest entry of a list."""
        item = await self.redis.brpop(ret, timeout=timeout_s)
        assert item is not None, f"nothing on {ret} within {timeout_s} s: {self.gateway.events[-20:]}"
        value = json.loads(item[1])
        assert isinstance(value, dict)
        return value

    async def pop_all(self, count: int, name: str = "my-ret", patience_s: float = 60.0) -> list[dict[str, Any]]:
        """The oldest `count` entries of a list, waiting for them."""
        values: list[dict[str, Any]] = []
        while len(values) < count:
            item = await self.redis.blmpop(patience_s, 1, name, direction="RIGHT", count=min(500, count - len(values)))
            assert item is not None, f"{len(values)} of {count} on {name}, no more: {self.gateway.events[-20:]}"
            values += map(json.loads, item[1])
        return values

    async def respond(self, request: dict[str, Any], payload: bytes = b'"ok"', **changes: Any) -> None:
        """What a service does (spec rmb 5.4)."""
        await self.redis.lpush("msgbus.system.reply", response_json(request, payload, **changes))

    def serve(self, command: str, answer: Callable[[bytes], bytes] = bytes) -> None:
        """Answer requests in the background until the site is closed."""
        self._services.append(asyncio.create_task(self._serve(command, answer)))

    async def _serve(self, command: str, answer: Callable[[bytes], bytes]) -> None:
        client: Any = Redis.from_url(self.store.url, socket_timeout=None)
        try:
            while True:
                item = await client.blmpop(1.0, 1, f"msgbus.{command}", direction="RIGHT", count=100)
                if item is None:
                    continue
                requests = [json.loads(raw) for raw in item[1]]
                replies = [response_json(r, answer(base64.b64decode(r["dat"]))) for r in requests]
                await client.lpush("msgbus.system.reply", *replies)
        finally:
            await client.aclose()

    async def stop_serving(self) -> None:
        """End the services that were started with `serve`."""
        services, self._services = self._services, []
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)

    async def close(self) -> None:
        await self.stop_serving()
        await self.redis.aclose()


class Network:
    """One relay and some sites around it."""

    def __init__(self, relay: RelayProgram, sites: list[Site]) -> None:
        self.relay = relay
        self.sites = sites

    async def tidy(self) -> None:
        """Make it fit for the next test: no services of this test, every program runs, and no list holds anything."""
        if not self.relay.runs:
            await self.relay.start()
        for place in self.sites:
            await place.stop_serving()
            if not place.gateway.runs:
                await place.gateway.start()
                await place.gateway.connected()
        for place in self.sites:
            lists = [name async for name in place.redis.scan_iter(_type="list", count=1000)]
            waiting = [name async for name in place.redis.scan_iter(keys.BACKLOG_PREFIX + "*", count=1000)]
            # Nobody waits any more: else what was not answered becomes an error on a list of a later test.
            await place.redis.delete(keys.DEADLINES, *lists, *waiting)


def new_secret() -> str:
    """A seed for an identity."""
    return "0x" + os.urandom(32).hex()


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[Program]:
    """Start a program; stop it at the end whatever happened."""
    await program.start()
    try:
        yield program
    finally:
        await program.stop()


@asynccontextmanager
async def site(
    folder: Path, relay_urls: list[str], *flags: str, secret: str | None = None, protocol: str = "rmb.2"
) -> AsyncIterator[Site]:
    """A store and a connected gateway."""
    store = await EmbeddedValkey.start(folder, port=0)
    try:
        gateway = GatewayProgram(relay_urls, store.url, secret or new_secret(), *flags, protocol=protocol)
        async with running(gateway):
            await gateway.connected()
            place = Site(gateway, store)
            try:
                yield place
            finally:
                await place.close()
    finally:
        await store.stop()


@asynccontextmanager
async def network(
    folder: Path,
    *gateway_flags: tuple[str, ...],
    relay_flags: tuple[str, ...] = (),
    protocols: tuple[str, ...] = ("rmb.2",),
) -> AsyncIterator[Network]:
    """A relay with its registry, and one site for each tuple of flags; they speak `protocols` in turn."""
    async with AsyncExitStack() as stack:
        relay = RelayProgram(folder / "relay", *relay_flags)
        await stack.enter_async_context(running(relay))
        planned = [
            site(folder / f"site{number}", [relay.url], *flags, protocol=protocol)
            for (number, flags), protocol in zip(enumerate(gateway_flags), cycle(protocols), strict=False)
        ]
        sites = await asyncio.gather(*map(stack.enter_async_context, planned))
        yield Network(relay, sites)


def payload(message: dict[str, Any]) -> bytes:
    """The decoded `dat` of any message."""
    return base64.b64decode(message["dat"])


def now_s() -> int:
    """Unix seconds."""
    return int(time.time())
