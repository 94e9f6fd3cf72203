"""`rmb-peer` as a process: wrong usage, missing parts, stopping, secrets."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rmb_peer.cli import main
from rmb_peer.embedded.folder import free_port
from rmb_peer.local import keys
from rmb_peer.registry.lanes import LOOKUP_S_MAX
from tests.support.gateways import request_json
from tests.support.processes import exit_code
from tests.support.programs import GatewayProgram, RelayProgram, new_secret, running
from tests.support.services import valkey

SEED = "0x" + "11" * 32


def run(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RMB_")}
    return subprocess.run(
        [sys.executable, "-m", "rmb_peer", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**clean, "PYTHONPATH": str(Path.cwd()), **(env or {})},
        cwd=cwd,
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "mnemonic"),
        (["--mnemonic", "//Alice"], "derivation paths"),
        (["--mnemonic", "one two three"], "this one has 3"),
        (["-m", SEED, "-k", "rsa"], "key-type must be one of"),
        (["-m", SEED, "--relay", "http://x"], "is not a relay URL"),
        (["-m", SEED, *(word for n in range(5) for word in ("--relay", f"ws://r{n}"))], "should not exceed 4"),
        (["-m", SEED, "-s", "https://tfchain.example.org"], "is no URL of a node"),
        (["-m", SEED, "-s", "wss://a", "--registry", "http://b"], "give either --substrate or --registry, not both"),
        (["-m", SEED, "--config", "missing.toml"], "cannot read the configuration"),
        (["-m", SEED, "--registry", "ftp://x"], "is not a registry"),
        (["-m", SEED, "--redis", "embedded:x"], "embedded:PORT"),
        (["--no-such-flag"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_clear_line(
    tmp_path: Path,
    store_of_worker: str,
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No traceback, no secret, and words that say what to change."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RMB_")]:
        monkeypatch.delenv(name)
    if "--redis" not in arguments:
        monkeypatch.setenv("RMB_REDIS", store_of_worker)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal to ask for a secret
    assert exit_code(main, arguments) == 2
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err
    assert "11" * 32 not in err


def test_wrong_usage_as_a_process(tmp_path: Path) -> None:
    """The same where nothing of ours is around it."""
    result = run("-m", SEED, "--redis", "embedded:x", cwd=tmp_path)
    assert (result.returncode, "embedded:PORT" in result.stderr, "Traceback" in result.stderr) == (2, True, False)
    assert "11" * 32 not in result.stderr


def test_no_redis_is_exit_code_1_and_says_where(tmp_path: Path) -> None:
    """The URL without its password, and the flag to change it."""
    result = run("-m", SEED, "--redis", "redis://user:hidden@127.0.0.1:1/0", "--registry", "memory:", cwd=tmp_path)
    assert result.returncode == 1
    assert "no Redis at redis://127.0.0.1:1/0" in result.stderr
    assert "--redis" in result.stderr
    assert "hidden" not in result.stderr
    assert "Traceback" not in result.stderr


async def test_no_twin_without_update(tmp_path: Path) -> None:
    """With --no-update an unknown account ends the program with the known text (spec rmb 7.3)."""
    async with valkey(tmp_path, port=0) as (store, _):
        result = run("-m", SEED, "--redis", store.url, "--registry", "memory:", "--no-update")
    assert result.returncode == 1
    assert "no twin found on this network with given key" in result.stderr


def test_help_and_version() -> None:
    """Help has examples and names every command."""
    text = run("--help").stdout
    for word in ("examples:", "dev", "call", "serve", "keys", "twin", "--mnemonic-file", "--no-update", "exit codes"):
        assert word in text
    assert run("--version").stdout.startswith("rmb-peer ")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RelayProgram]:
    """A relay for all tests of this file that do not end it."""
    made = RelayProgram(tmp_path_factory.mktemp("relay"))
    async with running(made):
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_stop_it_in_order(relay: RelayProgram, tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0, "stopped" as the last word, and the secret in no line."""
    secret = new_secret()
    async with valkey(tmp_path / "store", port=0) as (store, _):
        gateway = GatewayProgram([relay.url], store.url, secret, "-dd")
        await gateway.start()
        await gateway.connected()
        assert secret not in Path(f"/proc/{gateway.pid}/cmdline").read_text()
        assert await gateway.stop(number) == 0
        assert gateway.events[-1]["event"] == "stopped"
        assert secret[2:] not in str(gateway.events)


@pytest.mark.asyncio(loop_scope="module")
async def test_it_stops_even_if_its_store_is_gone(relay: RelayProgram, tmp_path: Path) -> None:
    """A store that died cannot hold up the end; what it holds goes out at the next start."""
    async with valkey(tmp_path / "store", port=0) as (store, _):
        gateway = GatewayProgram([relay.url], store.url, new_secret())
        await gateway.start()
        await gateway.connected()
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        await gateway.event("the store is away, waiting for it")
        assert await gateway.stop() == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_it_stops_even_if_its_registry_does_not_answer(relay: RelayProgram, tmp_path: Path) -> None:
    """A look-up under way is given up at the end; its message goes out at the next start."""
    async with valkey(tmp_path / "store", port=0) as (store, client):
        gateway = GatewayProgram([relay.url], store.url, new_secret())
        await gateway.start()
        await gateway.connected()
        os.kill(relay.pid, signal.SIGSTOP)
        try:
            redis: Any = client
            await redis.lpush(keys.LOCAL_REQUESTS, request_json(4711))
            async with asyncio.timeout(60):
                while not await redis.exists(keys.OUTBOX):
                    await asyncio.sleep(0.01)  # polls what another process does
            began_s = time.monotonic()
            assert await gateway.stop() == 0
            assert time.monotonic() - began_s < LOOKUP_S_MAX - 2
            assert await redis.xlen(keys.OUTBOX) == 1
        finally:
            os.kill(relay.pid, signal.SIGCONT)


async def test_a_gateway_waits_for_its_relay(tmp_path: Path) -> None:
    """Started before its relay, it says what it waits for, connects when it can, and can be stopped meanwhile."""
    relay = RelayProgram(tmp_path / "relay", port=free_port())
    async with valkey(tmp_path / "store", port=0) as (store, _):
        gateway = GatewayProgram([relay.url], store.url, new_secret())
        await super(GatewayProgram, gateway).start()
        await gateway.event("waiting for the registry of twins")
        async with running(relay):
            await gateway.connected()
            assert await gateway.stop() == 0
        await super(GatewayProgram, gateway).start()
        await gateway.event("waiting for the registry of twins")
        assert await gateway.stop() == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_an_embedded_store(relay: RelayProgram, tmp_path: Path) -> None:
    """`--redis embedded:0` needs no Redis; what was taken is still there after a kill and a new start."""
    gateway = GatewayProgram([relay.url], "embedded:0", new_secret(), "--data", str(tmp_path / "data"))
    async with running(gateway):
        line = await gateway.event("gateway runs")
        assert str(line["redis"]).startswith("redis://127.0.0.1:")
