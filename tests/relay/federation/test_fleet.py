"""Two and three of our relays, each with its own store: nothing is lost and order is kept while they come and go."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.commands.federation import main
from relay.federation.places import Places
from relay.federation.post_speaker import PostSpeaker, open_session
from relay.federation.speaker import Accepted, Refused
from tests.support.federation import nodes, queued
from tests.support.relay import receive, receive_error, request, response, send, until
from tests.support.rmb_rs_relay import Whim, rmb_rs_relay


async def test_a_request_and_its_answer(tmp_path: Path) -> None:
    """Across two relays, both ways, also to a session; and a `fail-fast` to somebody who is away."""
    async with nodes(tmp_path, 2) as [a, b]:
        a.directory.add(7, relays=(a.name,))
        a.directory.add(9, relays=(b.name,))
        async with a.client(7) as asker:
            await send(asker, request(7, "9:js", "away", tags="fail-fast"))
            error = (await receive(asker)).error.message
            assert error == "remote relay rejected permanently: destination offline"
            async with b.client(9, "js") as answerer:
                await send(asker, request(7, "9:js", "q"))
                asked = await receive(answerer)
                assert (asked.uid, asked.source.twin) == ("q", 7)
                await send(answerer, response("9:js", 7, "q"))
                assert (await receive(asker)).WhichOneof("message") == "response"


async def test_a_relay_down_and_back(tmp_path: Path) -> None:
    """What is sent meanwhile arrives in order; a third relay is not affected; the pause is kept over a restart."""
    async with nodes(tmp_path, 3) as [a, b, c]:
        a.directory.add(7, relays=(a.name,))
        a.directory.add(9, relays=(b.name,))
        a.directory.add(10, relays=(c.name,))
        async with a.client(7) as sender, c.client(10) as other:
            await b.down()
            for number in range(150):
                await send(sender, request(7, 9, str(number)))
            await send(sender, request(7, 10, "other"))
            assert (await receive(other)).uid == "other"
            await until(lambda: a.fails(b.name) >= 3)
        await a.down()
        await a.start()
        await until(lambda: a.waits_for(b.name) == 150)
        assert a.metric(f'relay_federation_open{{relay="{b.name}"}}') == 1
        await b.start()
        async with b.client(9) as receiver:
            assert [(await receive(receiver)).uid for _ in range(150)] == [str(number) for number in range(150)]
        await until(lambda: a.waiting_is(b.name, 0))


async def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Another process on the store goes on where one died: everything arrives in order, and what had no end in the
    store comes again."""
    async with nodes(tmp_path, 1, lease_ms=500) as [node], rmb_rs_relay() as far:
        node.directory.add(7, relays=(node.name,))
        node.directory.add(9, relays=(far.name,))
        await node.stop()
        expected = [str(number) for number in range(40)]
        async with node.dying() as first:
            assert first.door is not None
            far.gate.clear()
            async with first.client(7) as sender:
                for uid in expected:
                    await send(sender, request(7, 9, uid))
                await until(lambda: node.waiting_is(far.name, 40))
                await until(lambda: far.posts)
            first.door.cut()
            far.gate.set()
            await until(lambda: far.received)
            async with node.another_process():
                await until(lambda: node.waiting_is(far.name, 0))
        assert list(dict.fromkeys(far.uids)) == expected
        assert len(far.uids) <= 2 * 40


async def test_two_processes_on_one_store(tmp_path: Path) -> None:
    """One empties the outbox, whichever puts something in; when it stops, the other does at once."""
    async with nodes(tmp_path, 1, lease_ms=60_000) as [node], rmb_rs_relay() as far:
        node.directory.add(7, relays=(node.name,))
        node.directory.add(9, relays=(far.name,))
        async with node.another_process() as second:
            async with second.client(7) as sender:
                await send(sender, request(7, 9, "first"))
                await until(lambda: far.uids == ["first"])
                owner = await node.lease(far.name)
            async with node.client(7) as sender:
                for number in range(30):
                    await send(sender, request(7, 9, str(number)))
                await until(lambda: len(far.received) == 31)
            assert await node.lease(far.name) == owner is not None
        async with node.client(7) as sender:
            await send(sender, request(7, 9, "last"))
            await until(lambda: far.uids[-1] == "last")
        assert far.uids == ["first", *map(str, range(30)), "last"]


async def test_a_crowd_and_a_slow_relay(tmp_path: Path) -> None:
    """Each relay gets what is for it at its own pace."""
    async with nodes(tmp_path, 2) as [a, b], rmb_rs_relay() as slow:
        a.directory.add(7, relays=(a.name,))
        a.directory.add(9, relays=(b.name,))
        a.directory.add(10, relays=(slow.name,))
        slow.whim = Whim(hang=True)
        async with a.client(7) as sender, b.client(9) as receiver:
            for number in range(50):
                await send(sender, request(7, 10, f"slow{number}"))
                await send(sender, request(7, 9, str(number)))
            assert [(await receive(receiver)).uid for _ in range(50)] == [str(number) for number in range(50)]
            slow.whim = None
            slow.release()
            await until(lambda: slow.uids == [f"slow{number}" for number in range(50)])


async def test_limits(tmp_path: Path) -> None:
    """At the limit and one over: of one relay by count, and of all; the text names it and says when to try again."""
    async with nodes(tmp_path, 1, entries_max=5, all_entries_max=8, retry_s_first=60, retry_s_max=60) as [node]:
        node.directory.add(7, relays=(node.name,))
        async with node.client(7) as sender:

            async def fill(twin: int, relay: str, count: int) -> None:
                node.directory.add(twin, relays=(relay,))
                for number in range(count):
                    await send(sender, request(7, twin, f"{twin}-{number}"))
                await until(lambda: node.waiting_is(relay, count))
                await until(lambda: node.waits_for(relay) == count)

            await fill(9, "localhost:1", 5)
            await send(sender, request(7, 9, "over"))
            full = "outbox for relay localhost:1 is full: 5 messages wait; try again in 5 s"
            assert await receive_error(sender) == full
            await fill(10, "localhost:2", 3)
            await send(sender, request(7, 10, "over all"))
            full = "outboxes for other relays are full: 8 messages wait; try again in 5 s"
            assert await receive_error(sender) == full


async def test_strangers_cannot_name_any_number_of_relays(tmp_path: Path) -> None:
    """Nor make this relay remember them."""
    async with nodes(tmp_path, 1, remotes_max=2, retry_s_first=60, retry_s_max=60) as [node]:
        node.directory.add(7, relays=(node.name,))
        async with node.client(7) as sender:
            for number in (1, 2):
                node.directory.add(8 + number, relays=(f"localhost:{number}",))
                await send(sender, request(7, 8 + number))
                await until(lambda count=number: len(node.statuses()) == count)  # type: ignore[misc]
            node.directory.add(20, relays=("localhost:3",))
            await send(sender, request(7, 20))
            assert await receive_error(sender) == "messages wait for 2 other relays already; try again in 5 s"
            await send(sender, request(7, 9))
            await until(lambda: node.waiting_is("localhost:1", 2))


async def test_pause_resume_retry_drain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the operator says on the store is done by the relay that runs on it."""

    async def command(*words: str) -> int:
        return await asyncio.to_thread(main, [words[0], "--data", str(tmp_path / "store0"), *words[1:]])

    async with nodes(tmp_path, 1) as [node], rmb_rs_relay() as far, rmb_rs_relay() as other:
        node.directory.add(7, relays=(node.name,))
        node.directory.add(9, relays=(far.name,))
        node.directory.add(10, relays=(far.name,))
        async with node.client(7) as sender:
            assert await command("pause", far.name) == 0
            await until(lambda: far.name in node.statuses())
            for twin in (9, 10):
                await send(sender, request(7, twin, str(twin)))
            await until(lambda: node.waiting_is(far.name, 2))
            await until(lambda: node.waits_for(far.name) == 2)
            assert far.posts == 0
            assert await command("list", "--json") == 0
            [row] = orjson.loads(capsys.readouterr().out.splitlines()[-1])
            assert (row["relay"], row["waiting"], row["state"]) == (far.name, 2, "paused")
            node.directory.add(9, relays=(far.name, other.name))
            assert await command("drain", far.name) == 0
            error = await receive(sender)
            text = f"relay {far.name} was given up by the operator of the sender's relay"
            assert (error.uid, error.error.message) == ("10", text)
            await until(lambda: other.uids == ["9"])
            await send(sender, request(7, 10, "later"))
            await until(lambda: node.waiting_is(far.name, 1))
            far.whims.append(Whim(503, headers={"Retry-After": "200"}))
            assert await command("resume", "--all") == 0
            await until(lambda: node.fails(far.name))
            assert await command("retry", far.name) == 0
            await until(lambda: far.uids == ["later"])


async def test_never_to_itself(tmp_path: Path) -> None:
    """A name of this relay that it does not know is recognised by the key that it publishes."""
    async with rmb_rs_relay() as mirror:
        mirror.card = b'{"relay_key": "abcd"}'
        places = Places(frozenset({"localhost:1"}))
        async with open_session(places, 2.0) as session:
            options: dict[str, Any] = {"parallel": 1, "answer_s_max": 60.0}
            itself = PostSpeaker(mirror.name, session, places, own_key="abcd", **options)
            [outcome] = await itself.deliver([queued(9, "u")])
            text = f"{mirror.name} is this relay itself, under a name that it does not know"
            assert outcome == Refused("itself", f"remote relay rejected permanently: {text}")
            assert mirror.posts == 0
            other = PostSpeaker(mirror.name, session, places, own_key="abce", **options)
            assert await other.deliver([queued(9, "u")]) == [Accepted()]
