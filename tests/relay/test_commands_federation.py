"""`rmb-relay federation`: exit codes, tables, and one real process."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.cli import main
from relay.commands.federation import fields_of
from relay.federation.health import Health
from relay.federation.outbox import Orders, View
from tests.support.services import valkey

B = "b.test"


async def run(*words: str) -> int:
    return await asyncio.to_thread(main, ["federation", *words])


async def test_a_store_without_a_relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What waits is shown, orders are kept for the relay that will run; every form of the list has the same rows."""
    async with valkey(tmp_path / "data") as (server, raw):
        store: Any = raw
        where = ("--redis", server.url)
        assert await run("list", *where) == 0
        header = "relay\twaiting\tbytes\toldest\tstate\tnext try\tlast error\n"
        assert capsys.readouterr().out == header
        await store.sadd("relay.outboxes", B)
        await store.xadd(f"relay.outbox:{{{B}}}", {"_": b"x", "x": "1"})
        health = Health(3, time.time() + 20, "busy", "relay b.test answered 503: \x1b[2J", time.time())
        await store.hset(f"relay.outbox.state:{{{B}}}", mapping={"bytes": 101, "health": health.text()})
        assert await run("list", "--data", str(tmp_path / "data")) == 0
        row = capsys.readouterr().out.splitlines()[1].split("\t")
        assert [*row[:3], row[4], row[6]] == [B, "1", "101", "open", "relay b.test answered 503: ?[2J"]
        assert await run("pause", B, *where) == 0
        assert capsys.readouterr().out == f"{B} is paused, as soon as a relay runs on this store\n"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "federation", "list", *where, "--json", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        [shown] = orjson.loads(out)
        assert (shown["relay"], shown["waiting"], shown["state"], shown["failures"]) == (B, 1, "paused", 3)
        assert await run("drain", "--all", "--json", *where) == 0
        assert orjson.loads(capsys.readouterr().out) == {"command": "drain", "relays": [B]}
        assert await store.hget(f"relay.outbox.state:{{{B}}}", "drain") == b"1"


async def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with a code that tells them apart."""
    async with valkey(tmp_path / "data") as (server, _):
        assert await run("retry", "--redis", server.url) == 2
        assert "name a relay, or give --all" in capsys.readouterr().err
        assert await run("retry", B, "--redis", server.url) == 1
        assert "nothing waits for b.test" in capsys.readouterr().err
        assert await run("pause", "not a relay!", "--redis", server.url) == 2
        assert "expected host or host:port" in capsys.readouterr().err
    assert await run("list", "--redis", "redis://127.0.0.1:1") == 1
    error = capsys.readouterr().err
    assert error.startswith("rmb-relay federation: cannot use the store given by --redis (")
    assert error.count("\n") == 1
    assert await run("list", "--redis", "http://secret@x") == 1
    assert "secret" not in capsys.readouterr().err
    assert await run("list", "--data", str(tmp_path / "none")) == 1
    assert "does a relay run there?" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert await run() == 2
    assert await run("--help") == 0


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), {"state": "closed", "oldest_s": None, "retry_in_s": None, "last_error": None, "process": None}),
        (View(count=1, oldest_at_s=990.0, mine=True, owner="p"), {"oldest_s": 10.0, "process": "p"}),
        (View(health=Health(3, 990.0).text()), {"state": "half-open", "retry_in_s": 0.0}),
        (View(health=Health(3, 1010.0).text()), {"state": "open", "retry_in_s": 10.0}),
        (View(orders=Orders(paused=True), health=Health(3, 1010.0).text()), {"state": "paused"}),
    ],
)
def test_fields(view: View, expected: dict[str, object]) -> None:
    """What machines read."""
    assert expected.items() <= fields_of(B, view, 1000.0).items()


async def test_a_table_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal; markup in names and errors is text."""
    async with valkey(tmp_path / "data") as (server, raw):
        store: Any = raw
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert await run("list", "--redis", server.url) == 0
        assert "nothing waits for other relays" in capsys.readouterr().out
        await store.sadd("relay.outboxes", "[::1]:80")
        assert await run("list", "--redis", server.url) == 0
        out = capsys.readouterr().out
    assert "[::1]:80" in out
    assert "waiting" in out
