"""Mailboxes on Redis: the layout that other relays share (spec rmb 6.7), and what happens when the store fails."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay.keys import mailbox_key
from relay.mailbox_scripts import KEEP_LONGER_S
from relay.mailboxes import LIFETIME_S, LIFETIME_S_MAX, SLACK_S, START, MailboxFailed
from relay.redis_mailboxes import RedisMailboxes
from rmb_peer.protocol.address import Address
from tests.support.mailboxes import redis_mailboxes
from tests.support.proxy import proxy
from tests.support.services import valkey

A, B = Address(7), Address(9, "js")


async def contents(client: Any, owner: Address) -> list[bytes]:
    return [fields[b"_"] for _, fields in await client.xrange(mailbox_key(owner))]


@pytest.mark.parametrize(
    ("owner", "key"),
    [
        (Address(7), "stream:7"),
        (Address(7, ""), "stream:7:"),
        (Address(7, "js"), "stream:7:js"),
        (Address(4294967295, "a:b é"), "stream:4294967295:a:b é"),
    ],
)
async def test_layout_of_keys_and_entries(owner: Address, key: str, tmp_path: Path) -> None:
    """The key names the session, absent and empty ids apart; one field `_` holds the bytes; the key expires."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        entry_id = (await boxes.append(owner, b"\x00envelope", 300)).id
        assert await client.xrange(key) == [(b"%d-%d" % entry_id, {b"_": b"\x00envelope"})]
        assert LIFETIME_S - 5 <= await client.ttl(key) - KEEP_LONGER_S <= LIFETIME_S


async def test_a_mailbox_written_by_another_relay_is_read(tmp_path: Path) -> None:
    """What rmb-rs would append (spec rmb 6.7) is delivered like our own."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        await client.xadd("stream:7", {"_": b"theirs"}, maxlen=10000, approximate=True)
        await boxes.append(A, b"ours", 300)
        page = await boxes.read(A, START)
        assert [entry.data for entry in page.entries] == [b"theirs", b"ours"]


async def test_the_expiry_that_another_relay_sets_is_no_end_of_ours(tmp_path: Path) -> None:
    """Relays of other makes give a mailbox an hour (spec rmb 6.7); the next append gives it what it needs."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        await boxes.append(A, b"1", 300)
        await client.xadd("stream:7", {"_": b"theirs"})
        await client.expire("stream:7", 10)
        await boxes.append(A, b"2", 300)
        assert await client.ttl("stream:7") > LIFETIME_S - 5


async def test_a_longer_lived_envelope_keeps_its_mailbox(tmp_path: Path) -> None:
    """The mailbox outlives every envelope in it, up to a bound; a later short-lived one does not shorten that."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        await asyncio.gather(boxes.append(A, b"long", 7200), boxes.append(A, b"short", 60))
        await boxes.append(A, b"short", 60)
        assert 7195 <= await client.ttl("stream:7") - SLACK_S - KEEP_LONGER_S <= 7200
        await boxes.append(B, b"endless", 2**62)
        assert LIFETIME_S_MAX - 5 <= await client.ttl("stream:9:js") - SLACK_S - KEEP_LONGER_S <= LIFETIME_S_MAX


async def test_appends_of_one_turn_are_one_call(tmp_path: Path) -> None:
    """No round trip per message: what one turn of the event loop appends leaves as one script call."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        await boxes.append(A, b"loads the script", 300)
        before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        await asyncio.gather(*(boxes.append(Address(n % 5 + 1), b"x", 300) for n in range(100)))
        assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] == before + 1


async def test_poison_entries_are_deleted_and_counted(tmp_path: Path) -> None:
    """Entries without exactly one field `_` cannot be delivered; they vanish, the others come, reading goes on."""
    poison: list[int] = []
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url, on_poison=poison.append) as boxes:
        await client.xadd("stream:7", {"x": "wrong name"})
        await boxes.append(A, b"1", 300)
        await client.xadd("stream:7", {"_": "two", "more": "fields"})
        raw: Any = client  # this method has no annotations
        await raw.execute_command("XADD", "stream:7", "*", "_", "twice", "_", "the same")
        await boxes.append(A, b"2", 300)
        last = await client.xadd("stream:7", {"y": "last"})
        page = await boxes.read(A, START)
        assert [entry.data for entry in page.entries] == [b"1", b"2"]
        assert b"%d-%d" % page.last == last
        assert sum(poison) == 4
        await boxes.delete(A, [(1, 0)])  # deletes are carried out in order: this one comes after those of the poison
        assert await contents(client, A) == [b"1", b"2"]


async def test_a_wrong_key_type_hits_only_its_own_session(tmp_path: Path) -> None:
    """A mailbox that is no stream fails with the store's words; the rest of the batch is stored."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        await client.set("stream:7", "in the way")
        bad, good = boxes.append(A, b"1", 300), boxes.append(B, b"2", 300)
        with pytest.raises(MailboxFailed, match="redis error: WRONGTYPE Operation against a key"):
            await bad
        await good
        with pytest.raises(MailboxFailed, match="WRONGTYPE"):
            await boxes.read(A, START)


async def test_a_full_store_refuses_and_still_deletes(tmp_path: Path) -> None:
    """Out of memory, appends fail with the store's words, and deleting, which frees memory, works."""
    async with valkey(tmp_path) as (server, client), redis_mailboxes(server.url) as boxes:
        entry_id = (await boxes.append(A, bytes(1000), 300)).id
        await client.config_set("maxmemory", "1")
        with pytest.raises(MailboxFailed, match="redis error: OOM command not allowed"):
            await boxes.append(A, b"2", 300)
        await boxes.delete(A, [entry_id])
        assert await contents(client, A) == []


async def test_a_lost_answer_does_not_double_the_message(tmp_path: Path) -> None:
    """The store did it, the answer was lost: the repetition gets the answer of the first time."""
    async with valkey(tmp_path) as (server, client), proxy(server.url) as door, redis_mailboxes(door.url) as boxes:
        await boxes.append(A, b"1", 300)
        door.lose_replies = 1
        second, _ = await asyncio.gather(boxes.append(A, b"2", 300), boxes.append(B, b"3", 300))
        assert door.losses == 1
        assert await contents(client, A) == [b"1", b"2"]
        assert await contents(client, B) == [b"3"]
        assert [entry.id for entry in (await boxes.read(A, START)).entries][1] == second.id


async def test_a_short_outage_is_not_noticed(tmp_path: Path) -> None:
    """Appends and deletes wait for a store that comes back soon, in order."""
    async with valkey(tmp_path) as (server, client), proxy(server.url) as door, redis_mailboxes(door.url) as boxes:
        first = (await boxes.append(A, b"1", 300)).id
        door.cut()
        appended = [boxes.append(A, b"%d" % n, 300) for n in (2, 3)]
        deleted = boxes.delete(A, [first])
        await asyncio.wait(appended, timeout=0.05)
        assert not deleted.done()
        assert not any(future.done() for future in appended)
        door.down = False
        await asyncio.gather(*appended, deleted)
        assert await contents(client, A) == [b"2", b"3"]


async def test_a_long_outage_fails_appends_without_naming_hosts(tmp_path: Path) -> None:
    """After a while an append fails; the text, which strangers will read, says nothing about where the store is."""
    async with (
        valkey(tmp_path) as (server, client),
        proxy(server.url) as door,
        redis_mailboxes(door.url, append_s_max=0.2) as boxes,
    ):
        await boxes.append(A, b"1", 300)
        door.cut()
        with pytest.raises(MailboxFailed, match=r"^the store does not answer \(ConnectionError\)$"):
            await boxes.append(A, b"2", 300)
        with pytest.raises(MailboxFailed):
            await boxes.read(A, START)
        with pytest.raises(MailboxFailed):
            await boxes.ping()
        door.down = False
        assert await boxes.append(A, b"3", 300)
        assert await contents(client, A) == [b"1", b"3"]


async def test_what_waits_for_the_store_is_bounded(tmp_path: Path) -> None:
    """While too many bytes wait, `room` waits; it returns when they are stored."""
    async with (
        valkey(tmp_path) as (server, _),
        proxy(server.url) as door,
        redis_mailboxes(door.url, held_bytes_max=10_000) as boxes,
    ):
        await boxes.append(A, b"1", 300)
        await boxes.room()
        door.cut()
        futures = [boxes.append(A, bytes(6000), 300) for _ in range(2)]
        room = asyncio.ensure_future(boxes.room())
        await asyncio.wait([room], timeout=0.05)
        assert not room.done() and not boxes.has_room()
        door.down = False
        await asyncio.wait_for(room, 5)
        assert any(future.done() for future in futures)


async def test_closing_does_not_wait_for_a_dead_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Close gives up after a while; what could not be stored fails."""
    monkeypatch.setattr("relay.redis_mailboxes.CLOSE_S_MAX", 0.1)
    async with valkey(tmp_path) as (server, _), proxy(server.url) as door:
        async with redis_mailboxes(door.url) as boxes:
            door.cut()
            future = boxes.append(A, b"1", 300)
        with pytest.raises(MailboxFailed, match="shutting down"):
            await future
        with pytest.raises(MailboxFailed, match="shutting down"):
            await boxes.append(A, b"2", 300)


async def test_two_processes_share_a_store(tmp_path: Path) -> None:
    """Each has its own record of repetitions, so equal batch numbers do not collide."""
    async with (
        valkey(tmp_path) as (server, client),
        redis_mailboxes(server.url, "p1") as one,
        redis_mailboxes(server.url, "p2") as two,
    ):
        await asyncio.gather(one.append(A, b"1", 300), two.append(A, b"2", 300))
        assert sorted(await contents(client, A)) == [b"1", b"2"]


async def test_a_reader_that_is_cancelled_ends_at_once(tmp_path: Path) -> None:
    """Whoever waits for a page can be cancelled at any moment, even while the store is being connected to."""
    async with valkey(tmp_path) as (server, _):
        for steps in range(12):
            async with redis_mailboxes(server.url, str(steps)) as boxes:
                reading = asyncio.create_task(boxes.read(A, START))
                for _ in range(steps):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading], timeout=5)
                assert reading.cancelled()


def test_the_class_keeps_its_promise() -> None:
    """`RedisMailboxes` and the contract have the same methods."""
    from relay.mailboxes import Mailboxes

    names = [name for name in vars(Mailboxes) if not name.startswith("_")]
    assert all(callable(getattr(RedisMailboxes, name)) for name in names)
