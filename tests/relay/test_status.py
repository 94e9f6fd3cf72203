"""`rmb-relay status`: what it shows of a real relay, and its exit codes."""

import asyncio
import json

import pytest
from aiohttp import web

from relay.cli import main
from relay.commands.scrape import Samples, parse_samples
from relay.commands.status import summary
from rmb_peer import __version__
from tests.support.hosted_registry import serve
from tests.support.relay import TestBed, receive_error, request, send

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def run(*arguments: str) -> int:
    """The command, beside the relay that it asks."""
    return await asyncio.to_thread(main, ["status", *arguments])


async def test_a_relay_at_work(bed: TestBed, capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions, messages, refusals, readiness, version; in JSON, too; exit code 0."""
    async with bed.client(7) as client:
        await send(client, request(7, 4711))
        assert await receive_error(client) == "unknown twin destination"
        assert await run("--url", bed.http, "--interval-s", "0.01") == 0
        text = capsys.readouterr().out
        assert await run("--url", bed.http, "--json", "--interval-s", "0") == 0
        value = json.loads(capsys.readouterr().out)
    lines = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in text.splitlines()}
    assert lines["readiness"].startswith("ready: a message travelled through it in ")
    assert (lines["sessions"], lines["version"]) == ("1", f"rmb-relay {__version__}")
    assert "messages a second" in lines["in"]
    assert lines["unknown_twin"] == "1"
    assert "\x1b" not in text
    assert value["ready"]["status"] == "ready"
    assert value["refusals"]["unknown_twin"] == 1
    assert (value["sessions"], value["rates"], value["registry"]["offered"]) == (1, None, "/registry/v1")
    assert value["uptime_s"] >= 0 and value["totals"]["in"] >= 1


async def test_a_relay_that_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and why; text from elsewhere cannot steer the terminal."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=AFTER)

    async def ready(_: web.Request) -> web.Response:
        body = {"status": "failing", "step": "store", "reason": "no\x1b[2J answer"}
        return web.json_response(body, status=503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/readyz", ready)
    async with serve(app) as url:
        assert await run("--url", url, "--interval-s", "0") == 1
    lines = capsys.readouterr().out.splitlines()
    assert "readiness         failing: no?[2J answer (step: store)" in lines
    assert "chain             block 77, not following it" in lines
    assert "stored            700 bytes, 5 messages" in lines
    table = [line.split() for line in lines[-3:]]
    assert table[0][:2] == ["remote", "relay"]
    assert [row[0] for row in table[1:]] == ["a.test", "b.test"] and "timeout" in table[2] and "1.500" in table[2]


async def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and one line that says what to try."""
    assert await run("--url", "http://127.0.0.1:1") == 2
    assert capsys.readouterr().err == (
        "rmb-relay status: no relay answers at http://127.0.0.1:1: Connection refused; "
        "is it running, and is --url right?\n"
    )


async def test_metrics_that_are_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the flag that helps."""
    async with serve(web.Application()) as url:
        assert await run("--url", url) == 2
    assert "a relay with --admin-listen has them there: give that address as --admin-url" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--interval-s", "-1"], ["--interval-s", "x"], ["surplus"], ["--what"]])
async def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, from the parser."""
    assert await run(*arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("rmb-relay status: error: ")


async def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the exit codes."""
    assert await run("--help") == 0
    assert "exit codes:" in capsys.readouterr().out


BEFORE = """\
relay_message_rx 100
relay_direct_total 50
relay_backed_up_total 10
relay_message_tx 70
process_start_time_seconds 1000
"""
AFTER = """\
relay_message_rx 200
relay_direct_total 60
relay_backed_up_total 20
relay_message_tx 90
process_start_time_seconds 1000
relay_stored_messages 5
relay_stored_bytes 700
relay_federation_waiting{relay="b.test"} 3
relay_federation_oldest_seconds{relay="b.test"} 1.5
relay_federation_last_error{relay="b.test",reason="refused"} 900
relay_federation_last_error{relay="b.test",reason="timeout"} 1000
federation_message_success{relay="a.test"} 9
federation_message_error{relay="b.test"} 2
events_listener_last_processed_block_number 77
events_listener_reconnecting 1
"""


async def test_what_is_made_of_the_numbers() -> None:
    """Rates between two looks; what is stored; a row per remote relay; the chain."""
    status = summary(parse_samples(BEFORE), parse_samples(AFTER), 2.0, {"status": "ready"}, {}, 1060.0)
    assert status["rates"] == {"in": 50.0, "out": 10.0}
    assert status["totals"] == {"in": 240, "out": 90}
    assert status["uptime_s"] == 60.0
    assert status["stored"] == {"bytes": 700, "messages": 5}
    assert status["federation"] == {
        "a.test": {"message_success": 9},
        "b.test": {
            "last_error": {"ago_s": 60.0, "reason": "timeout"},
            "message_error": 2,
            "oldest_seconds": 1.5,
            "waiting": 3,
        },
    }
    assert status["registry"]["chain"] == {"block": 77, "following": False}


async def test_a_relay_that_was_restarted_between_two_looks() -> None:
    """It has no rate rather than a wrong one; what is not told is `None`."""
    status = summary(parse_samples(AFTER), parse_samples(BEFORE), 1.0, {}, {}, 0.0)
    assert status["rates"] == {"in": None, "out": None}
    empty = summary(Samples(), None, 0.0, {}, {}, 0.0)
    assert (empty["sessions"], empty["rates"], empty["uptime_s"], empty["stored"]) == (None, None, None, {})
