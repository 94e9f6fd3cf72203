"""The examples of the SDK and of leases in a real network: relay, gateways and workers as processes."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.local import keys
from rmb_peer.sdk import Call, Client, DirectClient, RemoteError, Request
from tests.support.processes import ROOT, Ended, background, environment
from tests.support.programs import Network, new_secret
from tests.support.requests import answered, entry, value
from tests.support.services import valkey
from tests.support.shared_network import shared_network, tidy_network

EXAMPLES = ROOT / "examples"
PATIENCE_S = 60


async def run(*command: str, **more: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment(**more)
    )
    async with background(process):
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Ended(process.returncode, out, err.decode())


@asynccontextmanager
async def example(*command: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that runs until the end of the block."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, env=environment(**more))
    async with background(process):
        yield process


@asynccontextmanager
async def patient(url: str) -> AsyncIterator[Any]:
    """A client whose blocking commands may take their time."""
    client = Redis.from_url(url, socket_timeout=None)
    try:
        yield client
    finally:
        await client.aclose()


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)  # polls real processes


@pytest.fixture(params=["redis-cli", "stand-in"])
def path_with_redis_cli(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """PATH with a `redis-cli`: the real one where it is installed, and ours."""
    if request.param == "redis-cli":
        if shutil.which("redis-cli") is None:
            pytest.skip("redis-cli is not installed")
        return os.environ["PATH"]
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "redis-cli"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.support.redis_cli "$@"\n')
    script.chmod(0o755)
    return f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"


async def test_the_worker_in_bash_answers_and_may_be_killed(tmp_path: Path, path_with_redis_cli: str) -> None:
    """With plain Redis commands: answers once, and what it had when it was killed goes to the next one."""
    async with valkey(tmp_path / "store", port=0) as (server, _), patient(server.url) as redis:
        worker = ("bash", str(EXAMPLES / "lease_worker.sh"), f"127.0.0.1:{server.port}")
        async with example(*worker, PATH=path_with_redis_cli) as process:
            await redis.lpush("msgbus.size", entry(b"it's", tag="it's \\", cmd="size"))
            assert value(await answered(redis)) == 4

            async def waits() -> bool:
                return any(client["cmd"] == "blmove" for client in await redis.client_list())

            await until(waits)
            assert await redis.keys(keys.LEASE_PREFIX + "*") == []
            process.send_signal(signal.SIGSTOP)  # redis-cli lives on: the request reaches the lease list
            await redis.lpush("msgbus.size", entry(b"12345", ref="u-2", cmd="size"))

            async def held() -> bool:
                return bool(await redis.keys(keys.LEASE_PREFIX + "*"))

            await until(held)
            process.kill()
        await until_dead(redis)
        assert await redis.llen(keys.LOCAL_REPLIES) == 0
        async with example(sys.executable, "-m", "rmb_peer", "serve", "size", "-r", server.url, "--", "wc", "-c"):
            answer = await answered(redis)
        assert (answer["ref"], value(answer)) == ("u-2", 5)


async def until_dead(redis: Any) -> None:
    """Heartbeats end; what time would do."""
    for name in await redis.keys(keys.ALIVE_PREFIX + "*"):
        await redis.delete(name)


shared = shared_network((), ())
net = tidy_network()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_examples_of_the_sdk(net: Network) -> None:
    """Client and service through two gateways, and a direct client that asks and answers."""
    a, b = net.sites
    async with example(sys.executable, str(EXAMPLES / "sdk_service.py"), b.store.url):
        client = [sys.executable, str(EXAMPLES / "sdk_client.py"), a.store.url]
        ended = await run(*client, f"{b.twin}", "calc.add", "[1, 2, 3.5]")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.decode().startswith(f"1/1 twin {b.twin}: 6.5 in ")
        ended = await run(*client, f"{b.twin},4711", "calc.divide", "[1, 0]")
        assert (ended.code, ended.out) == (1, b"")
        assert f"twin {b.twin}: 1 cannot be divided by 0 (code 422)" in ended.err
        assert "twin 4711: unknown twin id '4711' (code 103)" in ended.err
        direct = [sys.executable, str(EXAMPLES / "sdk_direct.py"), net.relay.url]
        ended = await run(*direct, str(b.twin), "calc.divide", "[1, 4]", RMB_MNEMONIC=new_secret())
        assert (ended.code, ended.out, ended.err) == (0, b"0.25\n", "")
    assert await a.redis.keys("rmb-call.*") == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_direct_client_beside_a_gateway(net: Network) -> None:
    """With an identity and a session of its own it is asked by another direct client, and asks through gateways."""
    _, b = net.sites
    one = DirectClient(new_secret(), [net.relay.url], register=True, session="one")
    two = DirectClient(new_secret(), [net.relay.url], register=True)

    @one.command("who")
    async def who(request: Request) -> str:
        return request.source

    b.serve("echo")
    async with one, two:
        assert two.twin is not None
        assert (await one.call(b.twin, "echo", {"a": 1}, timeout_s=PATIENCE_S)).json() == {"a": 1}
        assert one.twin is not None
        (answer,) = await two.call_many([Call(one.twin.id, "who", session="one")], timeout_s=PATIENCE_S)
        assert not isinstance(answer, Exception)
        assert answer.json() == f"{two.twin.id}:{two.session}"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_gateway_looks_after_leases(net: Network) -> None:
    """No worker lives: the gateway's own janitor gives up the request, and its sender far away hears of it."""
    a, b = net.sites
    await b.redis.hset(keys.RETRIES, "x", 0)
    name = keys.lease_list("foreign", "1", "x")
    async with Client(a.store.url) as client, patient(b.store.url) as redis:
        call = asyncio.create_task(client.call(b.twin, "x", timeout_s=PATIENCE_S))
        await b.redis.set(keys.ALIVE_PREFIX + "foreign", 1)
        await b.redis.sadd(keys.LEASES, name)
        assert await redis.blmove("msgbus.x", name, PATIENCE_S, "RIGHT", "LEFT")
        await b.redis.delete(keys.ALIVE_PREFIX + "foreign")
        with pytest.raises(RemoteError, match="given up") as caught:
            await call
    assert (caught.value.code, caught.value.twin) == (502, b.twin)
    assert await b.redis.xlen(keys.DEAD) == 1
