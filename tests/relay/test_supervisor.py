"""`--processes`: several real processes on one port and one store."""

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rmb_peer.protocol.address import Address
from tests.support.hosted_registry import signer
from tests.support.programs import RelayProgram, running
from tests.support.relay import metric, receive, request, send, token, until

SESSIONS = 16
"""Clients whose connections are certainly not all with one process: the kernel shares them out by address."""


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A registry in a file with twins 7 and 9."""
    twins = [{"id": n, "account": signer(str(n)).account.hex(), "relays": ["relay.test"]} for n in (7, 9)]
    (tmp_path / "twins.json").write_text(json.dumps({"twins": twins}))
    return f"file:{tmp_path / 'twins.json'}"


def client(relay: RelayProgram, twin: int, session: str | None = None) -> connect:
    return connect(f"ws://127.0.0.1:{relay.port}/?{token(Address(twin, session))}", compression=None)


async def get(relay: RelayProgram, path: str) -> str:
    admin = next(line["admin"] for line in relay.events if line.get("event") == "listening")
    async with aiohttp.ClientSession() as session, session.get(f"http://{admin}/{path}") as answer:
        return await answer.text()


async def scrape(relay: RelayProgram) -> str:
    return await get(relay, "metrics")


def workers(text: str) -> dict[str, int]:
    """Sessions by process."""
    lines = [line for line in text.splitlines() if line.startswith("relay_worker_connections{")]
    return {line.split('"')[1]: int(line.rpartition(" ")[2]) for line in lines}


async def test_two_processes_are_one_relay(tmp_path: Path, registry: str) -> None:
    """Messages cross; metrics are added up; a killed process is replaced and its clients go on; SIGTERM stops all."""
    flags = ("--processes", "2", "--domain", "relay.test", "--registry", registry, "--admin-listen", "127.0.0.1:0")
    relay = RelayProgram(tmp_path / "data", *flags)
    async with running(relay), AsyncExitStack() as stack:
        relay.port = int((await relay.event("all processes serve"))["port"])
        names = [f"s{n}" for n in range(SESSIONS)]
        receivers = {name: await stack.enter_async_context(client(relay, 9, name)) for name in names}
        sender = await stack.enter_async_context(client(relay, 7))
        for name, receiver in receivers.items():
            await send(sender, request(7, f"9:{name}", f"to {name}"))
            assert (await receive(receiver)).uid == f"to {name}"
        admins = {line["admin"] for line in relay.events if line.get("event") == "listening"}
        assert len(admins) == 1  # all processes share that port, too
        text = await scrape(relay)
        assert sum(workers(text).values()) == SESSIONS + 1
        assert len(workers(text)) == 2 and all(workers(text).values())
        assert metric(text, "relay_message_rx") == SESSIONS
        assert text.count("# TYPE relay_message_rx counter") == 1
        for _ in range(4):  # whichever process answers, and whichever its probe reaches
            assert '"ready"' in await get(relay, "readyz")

        victim = next(line["pid"] for line in relay.events if line.get("event") == "process started")
        os.kill(victim, signal.SIGKILL)
        lost = [name for name, receiver in receivers.items() if await is_lost(receiver)]
        assert 0 < len(lost) < SESSIONS
        await relay.event("process died, starting it again")
        await until(lambda: started(relay, 3))
        async with client(relay, 7, "second") as second:
            for name in names:
                await send(second, request("7:second", f"9:{name}", f"again {name}"))
            for name in lost:
                receivers[name] = await stack.enter_async_context(client(relay, 9, name))
            for name, receiver in receivers.items():
                while (uid := (await receive(receiver)).uid) != f"again {name}":
                    assert uid == f"to {name}"  # it had been read, and the process died before it was confirmed
        assert metric(await scrape(relay), "relay_signins_total") >= SESSIONS + 2
        assert await relay.stop() == 0


def started(relay: RelayProgram, count: int) -> bool:
    return len([line for line in relay.events if line.get("event") == "process started"]) >= count


async def is_lost(receiver: ClientConnection) -> bool:
    """Whether a connection ends; one that stays answers a ping."""
    try:
        async with asyncio.timeout(60):
            await (await receiver.ping())
    except ConnectionClosed:
        return True
    return False


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """It is said at once, by the one that starts the others, even when the other relay shares its port."""
    relay = RelayProgram(tmp_path / "one", "--processes", "1")
    async with running(relay):
        other = RelayProgram(tmp_path / "two", "--processes", "2", port=relay.port)
        with pytest.raises(AssertionError, match="cannot listen on "):
            await other.start()
        assert await other.ended() == 1
