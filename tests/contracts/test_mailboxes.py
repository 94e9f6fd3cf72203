"""What every implementation of mailboxes promises (spec rmb 6.7)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from relay.mailboxes import ENTRIES_MAX, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, START, EntryId, Mailboxes, MailboxFull
from relay.memory_mailboxes import MemoryMailboxes
from relay.retention import Retention
from rmb_peer.protocol.address import Address
from tests.support.mailboxes import redis_mailboxes
from tests.support.relay import until
from tests.support.services import valkey

A, B = Address(7), Address(9)


Open = Callable[[Retention], Awaitable[tuple[Mailboxes, list[bytes]]]]


@pytest.fixture(params=["memory", "redis"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens mailboxes that keep so much; gives what they drop, too."""
    dropped: list[bytes] = []
    async with AsyncExitStack() as stack:

        async def open_them(retention: Retention) -> tuple[Mailboxes, list[bytes]]:
            if request.param == "memory":
                return MemoryMailboxes(retention=retention, on_dropped=dropped.append), dropped
            server, _ = await stack.enter_async_context(valkey(tmp_path))
            boxes = redis_mailboxes(server.url, retention=retention, on_dropped=dropped.append)
            return await stack.enter_async_context(boxes), dropped

        yield open_them


@pytest.fixture
async def mailboxes(opened: Open) -> Mailboxes:
    boxes, _ = await opened(Retention())
    return boxes


async def append(boxes: Mailboxes, owner: Address, *data: bytes) -> list[EntryId]:
    return [receipt.id for receipt in await asyncio.gather(*(boxes.append(owner, item, 300) for item in data))]


async def read_all(boxes: Mailboxes, owner: Address, after: EntryId = START) -> list[bytes]:
    found: list[bytes] = []
    while True:
        page = await boxes.read(owner, after)
        assert all(entry.id > after for entry in page.entries)
        assert page.last == (page.entries[-1].id if page.entries else after)
        found += [entry.data for entry in page.entries]
        after = page.last
        if page.complete:
            return found


async def test_entries_come_back_oldest_first(mailboxes: Mailboxes) -> None:
    """What was appended in one turn keeps its order, in the ids and in the mailbox."""
    data = [b"%d" % n for n in range(50)]
    ids = await append(mailboxes, A, *data)
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    assert await read_all(mailboxes, A) == data


async def test_an_unknown_mailbox_is_empty(mailboxes: Mailboxes) -> None:
    """Reading where nothing was ever appended gives an empty, complete page."""
    page = await mailboxes.read(A, START)
    assert (page.entries, page.last, page.complete) == ([], START, True)


async def test_mailboxes_are_separate(mailboxes: Mailboxes) -> None:
    """Each session has its own; without session id and with an empty one are two."""
    owners = [Address(7), Address(7, ""), Address(7, "a"), Address(7, "a:b"), Address(77), Address(9)]
    for owner in owners:
        await append(mailboxes, owner, str(owner).encode())
    for owner in owners:
        assert await read_all(mailboxes, owner) == [str(owner).encode()]


async def test_reading_removes_nothing(mailboxes: Mailboxes) -> None:
    """An entry stays until it is deleted."""
    await append(mailboxes, A, b"1", b"2")
    assert await read_all(mailboxes, A) == await read_all(mailboxes, A) == [b"1", b"2"]


async def test_deleted_entries_are_gone(mailboxes: Mailboxes) -> None:
    """Delete removes exactly the named entries, and ids keep growing even when none is left."""
    first, second, third = await append(mailboxes, A, b"1", b"2", b"3")
    await mailboxes.delete(A, [first, third])
    assert await read_all(mailboxes, A) == [b"2"]
    await mailboxes.delete(A, [second])
    assert await read_all(mailboxes, A) == []
    (fourth,) = await append(mailboxes, A, b"4")
    assert fourth > third


async def test_deleting_what_is_not_there_is_harmless(mailboxes: Mailboxes) -> None:
    """Deleting twice, or from an unknown mailbox, does nothing."""
    (entry_id,) = await append(mailboxes, A, b"1")
    await mailboxes.delete(A, [entry_id])
    await mailboxes.delete(A, [entry_id])
    await mailboxes.delete(B, [entry_id])
    assert await read_all(mailboxes, A) == []


async def test_reading_continues_after_an_id(mailboxes: Mailboxes) -> None:
    """`after` itself is left out, whether it still exists or not."""
    ids = await append(mailboxes, A, b"1", b"2", b"3")
    await mailboxes.delete(A, [ids[0]])
    assert await read_all(mailboxes, A, ids[0]) == [b"2", b"3"]
    assert await read_all(mailboxes, A, ids[1]) == [b"3"]
    assert await read_all(mailboxes, A, ids[2]) == []


async def test_a_page_has_a_bounded_number_of_entries(mailboxes: Mailboxes) -> None:
    """A page holds at most so many; only the last one is complete."""
    data = [b"%d" % n for n in range(PAGE_ENTRIES_MAX + 1)]
    await append(mailboxes, A, *data)
    page = await mailboxes.read(A, START)
    assert len(page.entries) == PAGE_ENTRIES_MAX
    assert not page.complete
    assert await read_all(mailboxes, A) == data


async def test_a_page_has_bounded_bytes(mailboxes: Mailboxes) -> None:
    """A page ends with the entry that reaches the bound; an entry beyond it travels alone."""
    large = bytes(PAGE_BYTES_MAX // 2 + 1)
    await append(mailboxes, A, large, large, large)
    page = await mailboxes.read(A, START)
    assert len(page.entries) == 2
    assert await read_all(mailboxes, A) == [large] * 3
    huge = bytes(2 * PAGE_BYTES_MAX)
    await append(mailboxes, B, huge, b"small")
    assert len((await mailboxes.read(B, START)).entries) == 1
    assert await read_all(mailboxes, B) == [huge, b"small"]


async def test_binary_content_survives(mailboxes: Mailboxes) -> None:
    """Every byte value comes back, and so does an empty entry."""
    data = [bytes(range(256)), b"", b"\r\n$5\r\n"]
    await append(mailboxes, A, *data)
    assert await read_all(mailboxes, A) == data


async def test_a_full_mailbox_refuses_and_keeps_what_it_has(mailboxes: Mailboxes) -> None:
    """At the bound appends fail, for this session alone; a deletion makes room for one."""
    ids: list[EntryId] = []
    for start in range(0, ENTRIES_MAX, 1000):
        ids += await append(mailboxes, A, *(b"%d" % n for n in range(start, start + 1000)))
    refused, accepted = mailboxes.append(A, b"one more", 300), mailboxes.append(B, b"other", 300)
    with pytest.raises(MailboxFull, match="mailbox is full: 10000 messages wait; try again in 5 s"):
        await refused
    assert (await accepted).depth == 1
    await mailboxes.delete(A, ids[:1])
    assert (await mailboxes.append(A, b"last", 300)).depth == ENTRIES_MAX
    assert await read_all(mailboxes, A) == [b"%d" % n for n in range(1, ENTRIES_MAX)] + [b"last"]


S, T = Address(7, "s"), Address(7, "t")

LIMITS = [
    pytest.param(Retention(count=3), [A, A, A], A, "mailbox is full: 3 messages wait; try again in 5 s", id="count"),
    pytest.param(
        Retention(bytes=12), [A, A, A], A, "mailbox is full: at most 12 bytes may wait; try again in 5 s", id="bytes"
    ),
    pytest.param(
        Retention(twin_count=3),
        [A, S, S],
        T,
        "too much waits for this twin: at most 3 messages over all its sessions; try again in 30 s",
        id="twin_count",
    ),
    pytest.param(
        Retention(twin_bytes=12),
        [A, S, T],
        A,
        "too much waits for this twin: at most 12 bytes over all its sessions; try again in 30 s",
        id="twin_bytes",
    ),
    pytest.param(
        Retention(twin_mailboxes=2),
        [S, S, A],
        T,
        "too much waits for this twin: at most 2 of its sessions may have messages waiting; try again in 60 s",
        id="mailboxes",
    ),
    pytest.param(
        Retention(stored_bytes=12),
        [A, B, S],
        B,
        "this relay is full: at most 12 bytes may wait; try again in 60 s",
        id="store",
    ),
]


@pytest.mark.parametrize(("retention", "owners", "other", "text"), LIMITS)
async def test_at_each_limit_and_one_over(
    retention: Retention, owners: list[Address], other: Address, text: str, opened: Open
) -> None:
    """At the limit all is kept, one more is refused with a text that names it, and a deletion makes room again."""
    boxes, dropped = await opened(retention)
    receipts = await asyncio.gather(*(boxes.append(owner, b"data", 300) for owner in owners))
    with pytest.raises(MailboxFull) as refused:
        await boxes.append(other, b"more", 300)
    assert str(refused.value) == text
    assert str(refused.value.retry_after_s) in text
    for owner, receipt in zip(owners, receipts, strict=True):
        await boxes.delete(owner, [receipt.id])
    await boxes.append(other, b"more", 300)
    assert await read_all(boxes, other) == [b"more"]
    assert dropped == []


async def test_one_batch_meets_the_limits_as_single_appends_do(opened: Open) -> None:
    """Appends of one turn count each other; a smaller one behind a refused one may fit."""
    boxes, _ = await opened(Retention(bytes=10))
    results = await asyncio.gather(
        *(boxes.append(A, bytes(size), 300) for size in (4, 4, 4, 2, 1)), return_exceptions=True
    )
    assert [isinstance(result, MailboxFull) for result in results] == [False, False, True, False, True]
    assert [len(data) for data in await read_all(boxes, A)] == [4, 4, 2]


async def test_strangers_cannot_cut_a_connected_session_off(opened: Open) -> None:
    """What others made wait for the same twin does not count for a session that takes what it is sent."""
    boxes, _ = await opened(Retention(twin_count=2, twin_bytes=8, twin_mailboxes=2, count=3))
    await asyncio.gather(boxes.append(A, b"data", 300), boxes.append(S, b"data", 300))
    for _ in range(3):
        await boxes.append(T, b"data", 300, connected=True)
    with pytest.raises(MailboxFull, match="mailbox is full: 3 messages wait"):
        await boxes.append(T, b"data", 300, connected=True)
    with pytest.raises(MailboxFull, match="too much waits for this twin"):
        await boxes.append(A, b"data", 300)


async def test_the_unnamed_session_always_has_a_mailbox(opened: Open) -> None:
    """Gateways have no session id: mailboxes of made-up ones do not keep them from having theirs."""
    boxes, _ = await opened(Retention(twin_mailboxes=1))
    await boxes.append(S, b"data", 300)
    await boxes.append(A, b"data", 300)
    await boxes.append(S, b"data", 300)
    with pytest.raises(MailboxFull):
        await boxes.append(Address(7, ""), b"data", 300)


DROPS = [
    pytest.param(Retention(count=3), [A, A, A], A, 1, id="count"),
    pytest.param(Retention(bytes=12), [A, A, A], A, 1, id="bytes"),
    pytest.param(Retention(twin_count=3), [A, A, S], A, 1, id="twin_count"),
    pytest.param(Retention(twin_bytes=12), [A, A, S], A, 1, id="twin_bytes"),
    pytest.param(Retention(twin_bytes=12), [A, A, A], S, 0, id="another-mailbox"),
    pytest.param(Retention(twin_mailboxes=1), [S], T, 0, id="mailboxes"),
    pytest.param(Retention(stored_bytes=12), [A, A, A], A, 0, id="store"),
]


@pytest.mark.parametrize(("retention", "owners", "owner", "count"), DROPS)
async def test_the_oldest_make_room_if_the_operator_wants_that(
    retention: Retention, owners: list[Address], owner: Address, count: int, opened: Open
) -> None:
    """Only of the same mailbox, no more than needed, and each is told; where that cannot help it is refused."""
    boxes, dropped = await opened(replace(retention, when_full="drop-oldest"))
    for n, each in enumerate(owners):
        await boxes.append(each, b"old%d" % n, 300)
    if count == 0:
        with pytest.raises(MailboxFull):
            await boxes.append(owner, b"new!", 300)
        assert dropped == []
        return
    await boxes.append(owner, b"new!", 300)
    await until(lambda: dropped == [b"old0"])
    kept = [b"old%d" % n for n, each in enumerate(owners) if each == owner][1:]
    assert await read_all(boxes, owner) == [*kept, b"new!"]


async def test_what_never_fits_drops_nothing(opened: Open) -> None:
    """An envelope larger than its mailbox may be is refused, and the others stay."""
    boxes, dropped = await opened(Retention(bytes=10, when_full="drop-oldest"))
    await boxes.append(A, b"data", 300)
    with pytest.raises(MailboxFull, match="at most 10 bytes"):
        await boxes.append(A, bytes(11), 300)
    await boxes.append(A, bytes(10), 300)
    await until(lambda: dropped == [b"data"])


async def test_removing_tells_what_was_there(mailboxes: Mailboxes) -> None:
    """Only what is really removed is told, in whatever order it was asked for."""
    first, second, third = await append(mailboxes, A, b"1", b"2", b"3")
    assert await mailboxes.remove(A, [third, first, (1, 1)]) == [first, third]
    assert await mailboxes.remove(A, [first, second]) == [second]
    assert await mailboxes.remove(B, [first]) == []
    assert await read_all(mailboxes, A) == []


async def test_the_depth_is_told(mailboxes: Mailboxes) -> None:
    """Each receipt counts what is in the mailbox then."""
    receipts = await asyncio.gather(*(mailboxes.append(A, b"x", 300) for _ in range(5)))
    assert [receipt.depth for receipt in receipts] == [1, 2, 3, 4, 5]
    await mailboxes.delete(A, [receipt.id for receipt in receipts[:3]])
    assert (await mailboxes.append(A, b"x", 300)).depth == 3


async def test_overlapping_appends_keep_the_order_of_the_calls(mailboxes: Mailboxes) -> None:
    """Appends that start while others are under way come after them."""
    done: list[int] = []
    futures = []
    for n in range(40):
        future = mailboxes.append(A, b"%d" % n, 300)
        future.add_done_callback(partial(lambda n, _: done.append(n), n))
        futures.append(future)
        if n % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*futures)
    assert done == list(range(40))
    assert await read_all(mailboxes, A) == [b"%d" % n for n in range(40)]


async def test_signs_of_life_and_room(mailboxes: Mailboxes) -> None:
    """A healthy, idle store says so at once, and there is room."""
    await mailboxes.ping()
    await asyncio.wait_for(mailboxes.room(), 1)
    assert mailboxes.has_room()


async def test_closing_twice_is_harmless(mailboxes: Mailboxes) -> None:
    """Close finishes what is under way, and may be called again."""
    future = mailboxes.append(A, b"last", 300)
    await mailboxes.close()
    await mailboxes.close()
    assert future.done() and future.exception() is None
