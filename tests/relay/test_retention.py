"""What the operator decides about keeping, and how it is told."""

import shlex
from pathlib import Path

import aiohttp
import pytest

from relay.cli import parse_arguments
from relay.retention import Retention
from tests.support.relay import Directory, metric, receive, relay, request, send, until


def test_everything_has_a_default() -> None:
    """Without flags the defaults hold."""
    assert parse_arguments([]).retention == Retention()


def test_every_flag_arrives() -> None:
    """Each in its own place."""
    flags = (
        "--retain-age 1 --retain-count 2 --retain-bytes 3 --stored-count-per-twin 4 --stored-bytes-per-twin 5 "
        "--mailboxes-per-twin 6 --stored-bytes 7 --when-full drop-oldest"
    )
    assert parse_arguments(shlex.split(flags)).retention == Retention(1, 2, 3, 4, 5, 6, 7, "drop-oldest")


@pytest.mark.parametrize("flags", ["--retain-age 0", "--stored-bytes x", "--when-full drop"])
def test_wrong_values(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with the name of the flag."""
    with pytest.raises(SystemExit):
        parse_arguments(shlex.split(flags))
    assert flags.split()[0] in capsys.readouterr().err


async def test_a_relay_that_drops_the_oldest(tmp_path: Path) -> None:
    """The whole path: what had to make room is told to its requester, counted, and clients know the limits."""
    retention = Retention(count=2, when_full="drop-oldest")
    async with relay(tmp_path, Directory(7, 9), retention=retention) as bed, bed.client(7) as client:
        for n in range(3):
            await send(client, request(7, 9, f"u-{n}"))
        error = await receive(client)
        assert error.uid == "u-0"
        assert error.error.message == "message dropped: the mailbox of its receiver was full, and newer messages came"
        assert not error.HasField("source") and not error.HasField("destination")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{bed.http}/.well-known/rmb") as answer:
                told = (await answer.json())["retention"]
                assert (told["count"], told["when_full"]) == (2, "drop-oldest")
            async with session.get(f"{bed.http}/metrics") as answer:
                assert metric(await answer.text(), 'relay_dropped_total{reason="cap"}') == 1


async def test_what_expires_in_a_mailbox(tmp_path: Path) -> None:
    """It is not delivered; its requester is told, once; what is alive is delivered."""
    directory = Directory(7, 9)
    now = [float(request(1, 1).timestamp)]
    async with relay(tmp_path, directory, now_s=lambda: now[0]) as bed:
        for uid, expiration in (("short", 20), ("long", 600)):
            envelope = request(7, 9, uid)
            envelope.expiration = expiration
            async with bed.client(7) as client:
                await send(client, envelope)
                await until(lambda: bed.waiting("9"))
        await until(lambda: bed.app.metrics.message_rx == 2)
        await bed.app.mailboxes.idle()
        now[0] += 40
        async with bed.client(9) as client:
            assert (await receive(client)).uid == "long"
        async with bed.client(7) as client:
            error = await receive(client)
            assert (error.uid, error.error.message) == ("short", "message has expired")
        assert bed.app.metrics.dropped == {"expired": 1}
        assert bed.app.metrics.told == {"mailbox": 1}
