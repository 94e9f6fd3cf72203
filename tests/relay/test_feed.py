"""The feed of a session: everything once, oldest first, in bounded memory, whatever comes between what."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.feed import Feed
from relay.mailboxes import START, Entry, EntryId, Page

PAGE = 3
QUEUE = 2


def entry(n: int, size: int = 1) -> Entry:
    return Entry((n, 0), b"x" * size)


@dataclass
class Mailbox:
    """A mailbox whose reads take as long as the test wants: first they are executed, later they return."""

    entries: list[Entry] = field(default_factory=list)
    reads: deque[tuple[EntryId, "asyncio.Future[Page]"]] = field(default_factory=deque)
    executed: deque[tuple["asyncio.Future[Page]", Page]] = field(default_factory=deque)
    instant: bool = True

    def page(self, after: EntryId) -> Page:
        newer = [e for e in self.entries if e.id > after]
        return Page(newer[:PAGE], newer[:PAGE][-1].id if newer else after, len(newer) <= PAGE)

    async def read(self, after: EntryId) -> Page:
        if self.instant:
            return self.page(after)
        future: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.reads.append((after, future))
        return await future

    def execute(self) -> None:
        if self.reads:
            after, future = self.reads.popleft()
            self.executed.append((future, self.page(after)))

    def give_back(self) -> None:
        if self.executed:
            future, page = self.executed.popleft()
            future.set_result(page)

    def append(self, *new: Entry) -> None:
        self.entries += new


def make(mailbox: Mailbox) -> Feed:
    return Feed(mailbox.read, entries_max=QUEUE, bytes_max=100)


async def take(feed: Feed) -> list[int]:
    return [e.id[0] for e in await asyncio.wait_for(feed.take(), 5)]


async def go_live(feed: Feed, mailbox: Mailbox) -> None:
    """Take what is there, then wait for more, which makes it live."""
    waiting = asyncio.ensure_future(feed.take())
    await settle()
    assert feed.live and not waiting.done()
    waiting.cancel()
    await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_backlog_comes_first_and_oldest_first() -> None:
    """A new feed reads the mailbox page by page, from the oldest entry."""
    mailbox = Mailbox([entry(n) for n in range(1, 8)])
    feed = make(mailbox)
    assert [await take(feed) for _ in range(3)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert feed.live


async def test_live_entries_are_not_read() -> None:
    """Once live, an offered entry comes without touching the mailbox."""
    mailbox = Mailbox()
    feed = make(mailbox)
    await go_live(feed, mailbox)
    mailbox.instant = False
    feed.offer(entry(1))
    feed.offer(entry(2))
    assert await take(feed) == [1, 2]
    assert not mailbox.reads


async def test_a_full_queue_falls_back_to_the_mailbox() -> None:
    """What does not fit is left in the mailbox, read later, and then it is live again."""
    mailbox = Mailbox()
    feed = make(mailbox)
    await go_live(feed, mailbox)
    for n in range(1, 7):
        mailbox.append(entry(n))
        feed.offer(entry(n))
    assert feed.queued == QUEUE and not feed.live
    assert [await take(feed) for _ in range(3)] == [[1, 2], [3, 4, 5], [6]]
    assert feed.live


async def test_the_queue_is_bounded_by_bytes_too() -> None:
    """A large entry is held when it is alone, and not beside another."""
    mailbox = Mailbox()
    feed = make(mailbox)
    await go_live(feed, mailbox)
    for e in (entry(1, 5000), entry(2, 1)):
        mailbox.append(e)
        feed.offer(e)
    assert feed.queued == 1 and not feed.live
    assert [await take(feed), await take(feed)] == [[1], [2]]


@pytest.mark.parametrize("in_page", [True, False])
async def test_an_append_while_a_page_travels_comes_once(in_page: bool) -> None:
    """Whether the page has it or not, it is delivered once, and in its place."""
    mailbox = Mailbox([entry(1)], instant=False)
    feed = make(mailbox)
    taken = asyncio.ensure_future(feed.take())
    await settle()
    if in_page:
        mailbox.append(entry(2))
        mailbox.execute()
    else:
        mailbox.execute()
        mailbox.append(entry(2))
    feed.offer(entry(2))
    mailbox.give_back()
    assert [e.id[0] for e in await taken] == [1, 2]
    assert feed.live


async def test_an_offer_that_comes_after_its_page_is_a_repeat() -> None:
    """The page was faster than the answer to the append: the late offer changes nothing."""
    mailbox = Mailbox([entry(1), entry(2)])
    feed = make(mailbox)
    assert await take(feed) == [1, 2]
    feed.offer(entry(1))
    feed.offer(entry(2))
    feed.offer(entry(3))
    assert await take(feed) == [3]


async def test_too_many_appends_while_a_page_travels() -> None:
    """What is set aside is bounded; the feed reads another page instead."""
    mailbox = Mailbox([entry(1)], instant=False)
    feed = make(mailbox)
    taken = asyncio.ensure_future(feed.take())
    await settle()
    mailbox.execute()
    for n in range(2, 8):
        mailbox.append(entry(n))
        feed.offer(entry(n))
    mailbox.give_back()
    assert [e.id[0] for e in await taken] == [1]
    assert not feed.live
    mailbox.instant = True
    assert [await take(feed), await take(feed)] == [[2, 3, 4], [5, 6, 7]]


async def test_ids_that_go_back_are_found() -> None:
    """A stream that was deleted while the server's clock went back restarts with smaller ids: nothing is skipped."""
    mailbox = Mailbox()
    feed = make(mailbox)
    await go_live(feed, mailbox)
    mailbox.append(entry(100))
    feed.offer(entry(100))
    assert await take(feed) == [100]
    mailbox.entries = [entry(5)]
    feed.offer(entry(5))
    assert await take(feed) == [5]


async def test_rewinding_repeats_nothing_that_was_taken() -> None:
    """After a rewind only what nobody took comes, until it is deleted and forgotten."""
    mailbox = Mailbox([entry(n) for n in (1, 3, 5)])
    feed = make(mailbox)
    assert await take(feed) == [1, 3, 5]
    mailbox.entries = [entry(n) for n in (1, 2, 3, 4, 5, 6)]
    feed.rewind()
    assert await take(feed) == [2]
    assert await take(feed) == [4, 6]


async def test_a_failing_read_loses_nothing() -> None:
    """The error reaches the taker; the next take continues."""
    mailbox = Mailbox([entry(1), entry(2)])
    failures = [OSError("store"), None]

    async def read(after: EntryId) -> Page:
        if failures and (error := failures.pop(0)):
            raise error
        return await mailbox.read(after)

    feed = Feed(read)
    with pytest.raises(OSError, match="store"):
        await feed.take()
    feed.offer(entry(2))
    assert await take(feed) == [1, 2]


ACTIONS = st.lists(
    st.sampled_from(["append", "append", "answer", "execute", "return", "take", "delete", "forget", "foreign", "tell"]),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
@example(["take", "append", "execute", "append", "answer", "answer", "return", "take"])
@example(["append", "take", "execute", "return", "take", "delete", "tell"])
@example(["append", "take", "execute", "return", "take", "delete", "forget", "tell"])
@example(["append", "take", "execute", "return", "take", "delete", "forget", "tell", "execute", "return", "answer"])
@example(["append"] * 8 + ["take", "execute", "answer", "return", "tell", "take", "execute", "return"])
def test_whatever_happens_each_entry_comes_once(actions: list[str]) -> None:
    """Appends, late answers, slow reads, deletes and other processes in any order: each entry comes exactly once."""
    asyncio.run(_play(actions))


async def _play(actions: list[str]) -> None:
    mailbox = Mailbox(instant=False)
    feed = make(mailbox)
    unanswered: deque[Entry] = deque()
    taken: list[int] = []
    own: list[int] = []
    deleted: list[EntryId] = []
    untold = False
    number = 0
    permits = asyncio.Semaphore(0)

    async def consume() -> None:
        while True:
            await permits.acquire()
            taken.extend(e.id[0] for e in await feed.take())

    consumer = asyncio.create_task(consume())
    for action in actions:
        if action in ("append", "foreign"):
            number += 1
            mailbox.append(entry(number))
            if action == "append":
                unanswered.append(entry(number))
                own.append(number)
            else:
                untold = True
        elif action == "answer" and unanswered:
            feed.offer(unanswered.popleft())
        elif action == "execute":
            mailbox.execute()
        elif action == "return":
            mailbox.give_back()
        elif action == "take":
            permits.release()
        elif action == "delete":
            deleted = [e.id for e in mailbox.entries if e.id[0] in taken]
            mailbox.entries = [e for e in mailbox.entries if e.id[0] not in taken]
        elif action == "forget":
            feed.forget(deleted)
        elif action == "tell":
            untold = False
            feed.rewind()
        await settle()
        assert feed.queued <= PAGE + QUEUE
    while unanswered:
        feed.offer(unanswered.popleft())
    if untold:
        feed.rewind()
    mailbox.instant = True
    for _ in range(number + 5):
        permits.release()
        while mailbox.reads or mailbox.executed:
            mailbox.execute()
            mailbox.give_back()
            await settle()
        await settle()
    consumer.cancel()
    assert sorted(taken) == list(range(1, number + 1))
    assert [n for n in taken if n in own] == own


async def test_start_is_before_everything() -> None:
    """The first id a store can give is after START."""
    assert START < (0, 1)
