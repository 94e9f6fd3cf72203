"""The embedded Valkey: data survives, a dead server comes back, one left behind makes room."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rmb_peer.embedded.valkey import EmbeddedServerFailed, EmbeddedValkey
from tests.support.services import valkey


async def test_data_survives_a_restart(tmp_path: Path) -> None:
    """What was written before an orderly stop is there after the next start."""
    async with valkey(tmp_path) as (_, client):
        await client.set("k", "v")
    async with valkey(tmp_path) as (_, client):
        assert await client.get("k") == b"v"


async def test_a_port_is_offered_when_asked_for(tmp_path: Path) -> None:
    """Port 0 picks a free one; clients reach it by TCP on loopback."""
    async with valkey(tmp_path, port=0) as (server, client):
        assert server.url == f"redis://127.0.0.1:{server.port}"
        assert await client.ping()


async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    """keep_running brings back a server that was killed, with its data."""
    server = await EmbeddedValkey.start(tmp_path, fsync="always")
    keeper = asyncio.create_task(server.keep_running())
    client = Redis.from_url(server.url, socket_timeout=None)
    try:
        await client.set("k", "v")
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            while server.pid == first or await server._ask(b"PING") != b"+PONG":
                await asyncio.sleep(0.01)  # polls a real process
        again = Redis.from_url(server.url, socket_timeout=None)
        assert await again.get("k") == b"v"
        await again.aclose()
    finally:
        await client.aclose()
        await server.stop()
        await keeper


async def test_a_server_that_died_is_not_started_again_after_the_end(tmp_path: Path) -> None:
    """When a supervisor ends server and program together, `keep_running` ends too and leaves no server behind."""
    server = await EmbeddedValkey.start(tmp_path)
    assert server._process is not None
    keeper = asyncio.create_task(server.keep_running())
    server._process.terminate()
    await server._process.wait()
    for _ in range(5):
        await asyncio.sleep(0)  # the keeper sees it and pauses before it starts another one
    await server.stop()
    async with asyncio.timeout(60):
        await keeper
    assert await server._ask(b"PING") is None


async def test_a_server_left_behind_is_stopped_first(tmp_path: Path) -> None:
    """The server of a program that was killed makes room for ours, with everything it was told."""
    program = f"""
import asyncio, pathlib, os, signal
from redis.asyncio import Redis
from rmb_peer.embedded.valkey import EmbeddedValkey
async def main():
    server = await EmbeddedValkey.start(pathlib.Path({str(tmp_path)!r}), fsync="always")
    await Redis.from_url(server.url, socket_timeout=None).set("k", "v")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    for _ in range(3):
        killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        assert await killed.wait() == -signal.SIGKILL
        async with valkey(tmp_path) as (server, client):
            assert server.pid is not None
            assert await client.get("k") == b"v"


async def test_a_server_that_goes_on_without_its_program_is_stopped_first(tmp_path: Path) -> None:
    """Where the system does not end orphans, we do."""
    orphan = await EmbeddedValkey.start(tmp_path)
    assert orphan._lock is not None
    assert orphan._process is not None
    orphan._lock.close()  # as if its program had been killed
    async with valkey(tmp_path) as (server, _):
        assert await orphan._process.wait() == 0
        assert server.pid != orphan.pid


async def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Two programs cannot share one folder; the second is told so."""
    async with valkey(tmp_path):
        with pytest.raises(EmbeddedServerFailed, match="is used by another running program"):
            await EmbeddedValkey.start(tmp_path)


async def test_a_failing_start_says_why(tmp_path: Path) -> None:
    """A server that cannot run reports the server's own words, not a time-out."""
    (tmp_path / "appendonlydir").write_text("in the way")
    with pytest.raises(EmbeddedServerFailed, match="ended at once"):
        await EmbeddedValkey.start(tmp_path)


async def test_a_long_folder_name_still_works(tmp_path: Path) -> None:
    """Unix sockets have short paths; a deep data folder gets its socket elsewhere."""
    async with valkey(tmp_path / ("deep" * 20) / ("deeper" * 10)) as (_, client):
        assert await client.ping()
