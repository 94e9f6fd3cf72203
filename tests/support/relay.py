"""A real relay on loopback with a real store, and clients for it that are not ours."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from relay.app import RelayApp
from relay.config import RelayConfig
from relay.federation.settings import FederationSettings
from relay.keys import JOINS, PROCESSES
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NOT_CACHED, NotCached
from tests.support.hosted_registry import signer
from tests.support.proxy import Proxy
from tests.support.services import valkey

DOMAIN = "relay.test"
"""The relay of tests answers to this name."""

ALONE = FederationSettings(enabled=False)
"""Relays of tests look for no others, since there is no network; those that do are in `federation`."""

PATIENCE_S = 60.0
"""How long a test waits for something that must happen."""


class Directory:
    """Twins in a dictionary, which can be told to be slow, to forget, and to fail.

    Attributes:
        gates: a look-up of such a twin waits until its event is set.
        first_gates: the same, for the first look-up only.
        uncached: `peek` does not know these.
        failing: look-ups of these raise, with this text.
        asked: how often each was looked up.
    """

    def __init__(self, *twin_ids: int, relays: tuple[str, ...] = (DOMAIN,)) -> None:
        self.reset(*twin_ids, relays=relays)

    def reset(self, *twin_ids: int, relays: tuple[str, ...] = (DOMAIN,)) -> None:
        """Hold exactly these, and have no whims."""
        self.twins: dict[int, Twin] = {}
        self.gates: dict[int, asyncio.Event] = {}
        self.first_gates: dict[int, asyncio.Event] = {}
        self.uncached: set[int] = set()
        self.failing: dict[int, str] = {}
        self.asked: dict[int, int] = {}
        for twin_id in twin_ids:
            self.add(twin_id, relays)

    def add(self, twin_id: int, relays: tuple[str, ...] = (DOMAIN,)) -> None:
        self.twins[twin_id] = Twin(twin_id, signer(str(twin_id)).account, frozenset(relays), None)

    def peek(self, twin_id: int) -> Twin | NotCached | None:
        if twin_id in self.gates or twin_id in self.uncached or twin_id in self.failing:
            return NOT_CACHED
        return self.twins.get(twin_id)

    async def get(self, twin_id: int) -> Twin | None:
        self.asked[twin_id] = self.asked.get(twin_id, 0) + 1
        if gate := self.gates.get(twin_id) or self.first_gates.pop(twin_id, None):
            await gate.wait()
        if twin_id in self.failing:
            raise RegistryUnavailable(self.failing[twin_id])
        return self.twins.get(twin_id)


class TestBed:
    """One relay, its store and its directory."""

    __test__ = False

    def __init__(self, app: RelayApp, store: Redis, directory: Directory, door: Proxy | None) -> None:
        self.app = app
        self._door = door
        self.store = store
        self.directory = directory

    @property
    def proxy(self) -> Proxy:
        assert self._door is not None
        return self._door

    @property
    def http(self) -> str:
        return self.app.url.replace("ws://", "http://")

    def client(self, twin: int, session: str | None = None, **options: Any) -> connect:
        """A signed-in WebSocket client, of the `websockets` library: `async with bed.client(7) as client`."""
        owner = Address(twin, session)
        options = {"compression": None, "max_size": None, "ping_interval": None, **options}
        return connect(f"{self.app.url}/?{token(owner)}", **options)

    def reload(self) -> bool:
        """What SIGHUP does when the flags are the same: files are read again. Whether all of them could be used."""
        reloads = self.app.reloads
        done = reloads.reload(lambda: reloads.config)
        return done is not None and not done.refused

    async def keys(self) -> set[bytes]:
        store: Any = self.store
        return set(await store.keys("stream:*"))

    async def keys_are(self, *names: str) -> bool:
        """Whether exactly these mailboxes exist."""
        return await self.keys() == {name.encode() for name in names}

    async def waiting(self, owner: str) -> list[bytes]:
        """The envelopes in a mailbox."""
        store: Any = self.store
        return [fields[b"_"] for _, fields in await store.xrange(f"stream:{owner}")]


@asynccontextmanager
async def relay(
    folder: Path,
    directory: Directory,
    *,
    now_s: Callable[[], float] = time.time,
    through: Callable[[str], AbstractAsyncContextManager[Proxy]] | None = None,
    **config: Any,
) -> AsyncIterator[TestBed]:
    """A relay with a Valkey of its own.

    Args:
        folder: for the data of the store.
        directory: the twins.
        now_s: the relay's clock.
        through: put this between the relay and its store.
        config: what differs from the defaults of tests.
    """
    async with AsyncExitStack() as stack:
        server, client = await stack.enter_async_context(valkey(folder))
        door = await stack.enter_async_context(through(server.url)) if through else None
        url = door.url if door else server.url
        options = {"domains": (DOMAIN,), "listen_host": "127.0.0.1", "listen_port": 0, "federation": ALONE, **config}
        app = RelayApp(RelayConfig(redis_url=url, **options), lookup=directory, now_s=now_s)
        await stack.enter_async_context(app)
        yield TestBed(app, client, directory, door)


def token(owner: Address, **options: Any) -> str:
    return make_token(signer(str(owner.twin)), owner, int(time.time()), **options)


def request(
    source: int | str,
    destination: int | str,
    uid: str = "u-1",
    *,
    tags: str | None = None,
    payload: bytes = b"",
    **fields: Any,
) -> Envelope:
    """A request as a gateway would send it; the relay does not check signatures, so any 65 bytes do."""
    envelope = Envelope(uid=uid, timestamp=int(time.time()), expiration=300, tags=tags, plain=payload, **fields)
    Address.parse(str(source)).write_to(envelope.source)
    Address.parse(str(destination)).write_to(envelope.destination)
    if envelope.WhichOneof("message") is None:
        envelope.request.command = "test.command"
    envelope.signature = b"e" + bytes(64)
    return envelope


def response(source: int | str, destination: int | str, uid: str = "u-1", **options: Any) -> Envelope:
    envelope = request(source, destination, uid, **options)
    envelope.response.SetInParent()
    return envelope


async def send(client: ClientConnection, envelope: Envelope) -> bytes:
    data = envelope.SerializeToString()
    await client.send(data)
    return data


async def receive(client: ClientConnection) -> Envelope:
    """The next envelope; a test fails when none comes."""
    async with asyncio.timeout(PATIENCE_S):
        data = await client.recv()
    assert isinstance(data, bytes)
    return parse_envelope(data)


async def receive_error(client: ClientConnection) -> str:
    envelope = await receive(client)
    assert envelope.WhichOneof("message") == "error"
    return envelope.error.message


async def next_is_marker(client: ClientConnection, source: str, uid: str = "marker") -> None:
    """Nothing else is on its way to this client: a request that must fail is sent, and its error is the next to come.

    The errors of a relay go through the session's mailbox, in order.
    """
    await send(client, request(source, 0, uid))
    envelope = await receive(client)
    assert (envelope.uid, envelope.error.message) == (uid, "message with missing destination")


async def raw_http(address: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read one HTTP answer: status, headers with lower-case names, body."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
    finally:
        writer.close()
    return int(head[0].split()[1]), headers, body


def upgrade_request(target: str, **headers: str | None) -> bytes:
    """A WebSocket handshake as text; a header that is `None` is left out. Underscores stand for hyphens."""
    fields: dict[str, str | None] = {
        "Host": "relay.test",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()


async def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait for something that another process or task brings about."""
    async with asyncio.timeout(patience_s):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.005)  # a poll, not a guess of how long it takes


async def empty(store: Any) -> None:
    """Forget everything that a relay keeps, except that it lives: a store without that is not certainly its own."""
    keys = set(await store.keys("*")) - {PROCESSES.encode(), JOINS.encode()}
    if keys:
        await store.delete(*keys)


class LogLines(logging.Handler):
    """Collects events of a logger: `with LogLines("rmb.relay") as lines`."""

    def __init__(self, name: str = "rmb", level: int = logging.DEBUG) -> None:
        super().__init__(level)
        self._logger = logging.getLogger(name)
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append({"event": record.getMessage(), "level": record.levelno, **getattr(record, "fields", {})})

    def named(self, text: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == text]

    def __enter__(self) -> "LogLines":
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


def metric(text: str, name: str) -> float:
    """The value of one sample in Prometheus' text form."""
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample == name:
            return float(value)
    raise AssertionError(f"no metric {name} in:\n{text}")
