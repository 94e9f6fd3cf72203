"""The relay as a process: it starts, stops when told to, and loses nothing across a restart."""

import asyncio
import json
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from relay.mailboxes import ENTRIES_MAX
from rmb_peer.protocol.address import Address
from tests.support.hosted_registry import signer
from tests.support.relay import next_is_marker, receive, request, send, token
from tests.support.relay_process import RelayProcess


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A registry in a file with twins 7 and 9."""
    twins = [{"id": n, "account": signer(str(n)).account.hex(), "relays": ["relay.test"]} for n in (7, 9)]
    (tmp_path / "twins.json").write_text(json.dumps({"twins": twins}))
    return f"file:{tmp_path / 'twins.json'}"


def client(relay: RelayProcess, twin: int) -> connect:
    return connect(f"{relay.url}/?{token(Address(twin))}", compression=None)


async def send_many(relay: RelayProcess, uids: list[str]) -> None:
    async with client(relay, 7) as sender:
        for uid in uids:
            await send(sender, request(7, 9, uid))
        await send(sender, request(7, 0, f"after {uids[-1]}"))  # fails, which is told when all others are stored
        while (await receive(sender)).uid != f"after {uids[-1]}":
            pass  # an error from before a kill, which was not confirmed


async def take(waiting: ClientConnection, count: int) -> list[str]:
    return [(await receive(waiting)).uid for _ in range(count)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_answers_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    """Port 0 is told in the log; health is good; a signal ends it with exit code 0; clients hear 1001 in time."""
    relay = await RelayProcess.start(tmp_path / "data", "--domain", "relay.test")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{relay.address}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        async with session.get(f"http://{relay.address}/.well-known/rmb") as answer:
            assert (await answer.json())["registry"] == "/registry/v1"
    started_at = time.monotonic()
    assert await relay.stop(number) == 0
    assert time.monotonic() - started_at < 5
    assert [line["level"] for line in relay.lines if line["level"] not in ("info", "debug")] == []


async def test_nothing_is_lost_across_a_restart(tmp_path: Path, registry: str) -> None:
    """What waited before an orderly stop is delivered after the next start; what was read is not delivered again."""
    arguments = ("--domain", "relay.test", "--registry", registry)
    relay = await RelayProcess.start(tmp_path / "data", *arguments, "-d")
    await send_many(relay, ["m0", "m1"])
    async with client(relay, 9) as receiver:
        assert await take(receiver, 2) == ["m0", "m1"]
        stopping = asyncio.create_task(relay.stop())
        with pytest.raises(ConnectionClosed) as closed:
            await receive(receiver)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert await stopping == 0
    traced = [line for line in relay.lines if line.get("uid") == "m0"]  # with -d, a line per step of each message
    assert [(line["event"], line["how"], line["destination"]) for line in traced] == [("routed", "mailbox", "9")]
    relay = await RelayProcess.start(tmp_path / "data", *arguments)
    await send_many(relay, [f"n{n}" for n in range(150)])
    assert await relay.stop() == 0
    relay = await RelayProcess.start(tmp_path / "data", *arguments)
    async with client(relay, 9) as receiver:
        assert await take(receiver, 150) == [f"n{n}" for n in range(150)]
        await next_is_marker(receiver, "9")
    assert await relay.stop() == 0


async def test_nothing_is_lost_when_it_is_killed(tmp_path: Path, registry: str) -> None:
    """After SIGKILL, and a start in the same folder, what was stored is there."""
    arguments = ("--domain", "relay.test", "--registry", registry)
    for round_number in range(2):
        relay = await RelayProcess.start(tmp_path / "data", *arguments)
        uids = [f"{round_number}-{n}" for n in range(20)]
        await send_many(relay, uids)
        await relay.stop(signal.SIGKILL)
        relay = await RelayProcess.start(tmp_path / "data", *arguments)
        async with client(relay, 9) as receiver:
            assert await take(receiver, 20) == uids
            await next_is_marker(receiver, "9")
            assert await relay.stop() == 0


async def test_a_burst_goes_through(tmp_path: Path, registry: str) -> None:
    """More messages than a mailbox holds, as fast as they can be sent, to a client that reads: all arrive, in order."""
    relay = await RelayProcess.start(tmp_path / "data", "--domain", "relay.test", "--registry", registry)
    uids = [f"m{n}" for n in range(ENTRIES_MAX + 2000)]
    async with client(relay, 9) as receiver:
        sending = asyncio.create_task(send_many(relay, uids))
        assert await take(receiver, len(uids)) == uids
        await sending
        await next_is_marker(receiver, "9")
        assert await relay.stop() == 0
    assert {line["level"] for line in relay.lines} == {"info"}
    closed = [line for line in relay.lines if line["event"] == "session closed" and line["session"] == "9"]
    assert [line["unconfirmed"] for line in closed] == [0]
