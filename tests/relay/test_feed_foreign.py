"""A feed whose mailbox other processes append to as well: everything once, in the mailbox's order."""

import asyncio
from collections import deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.feed import Feed
from relay.horizon import Horizon
from relay.mailboxes import Entry, EntryId
from tests.relay.test_feed import PAGE, QUEUE, Mailbox, entry, go_live, make, settle, take


async def test_news_make_it_read_on() -> None:
    """Told that there is more, a live feed reads what it has not seen, and is live again."""
    mailbox = Mailbox([entry(1)])
    feed = make(mailbox)
    assert await take(feed) == [1]
    await go_live(feed, mailbox)
    mailbox.append(entry(2))
    feed.poke(1)
    assert not feed.drained
    assert await take(feed) == [2]
    assert feed.live


async def test_old_news_are_no_news() -> None:
    """A count that is known changes nothing: it may be told twice, and late."""
    mailbox = Mailbox([entry(1)])
    feed = make(mailbox)
    feed.poke(1)
    assert await take(feed) == [1]
    feed.poke(1)
    assert feed.live
    assert feed.foreign == 1


async def test_our_own_append_shows_the_gap() -> None:
    """The answer counts an entry that nobody told of: it is read first."""
    mailbox = Mailbox()
    feed = make(mailbox)
    await go_live(feed, mailbox)
    mailbox.append(entry(1), entry(2))
    feed.offer(entry(2), 1)
    assert await take(feed) == [1, 2]


async def test_news_while_a_page_travels() -> None:
    """The page may have left too early: another one follows before anything is handed over from memory."""
    mailbox = Mailbox([entry(1)], instant=False)
    feed = make(mailbox)
    taken = asyncio.ensure_future(feed.take())
    await settle()
    mailbox.execute()
    mailbox.append(entry(2), entry(3))
    feed.offer(entry(3), 1)
    mailbox.give_back()
    assert [e.id[0] for e in await taken] == [1]
    assert not feed.live
    mailbox.instant = True
    assert await take(feed) == [2, 3]


async def test_what_the_session_has_is_left_out() -> None:
    """A parcel that was stored behind a foreign entry: that is read, the parcel does not come again."""
    mailbox = Mailbox()
    feed = make(mailbox)
    await go_live(feed, mailbox)
    mailbox.append(entry(1), entry(2), entry(3))
    feed.has(entry(2).id, 1)
    assert await take(feed) == [1, 3]


async def test_a_look_is_dated() -> None:
    """A feed has seen what was there when its page left, not when it came."""
    horizon = Horizon()
    mailbox = Mailbox(instant=False)
    feed = Feed(mailbox.read, horizon=horizon)
    before = horizon.next()
    taking = asyncio.ensure_future(feed.take())
    await settle()
    after = horizon.next()
    mailbox.execute()
    mailbox.give_back()
    await settle()
    assert before <= feed.verified < after
    feed.look()
    await settle()
    mailbox.execute()
    mailbox.give_back()
    await settle()
    assert feed.verified == after and feed.live
    taking.cancel()
    await settle()


ACTIONS = st.lists(
    st.sampled_from(["append", "append", "answer", "execute", "return", "take", "delete", "foreign", "tell", "look"]),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
@example(["take", "execute", "return", "foreign", "append", "answer", "tell", "take", "execute", "return"])
@example(["take", "foreign", "append", "execute", "answer", "append", "return", "answer", "tell"])
@example(["take", "execute", "foreign", "return", "append", "answer", "tell", "execute", "return"])
def test_whatever_happens_the_order_is_the_mailboxes(actions: list[str]) -> None:
    """Our appends, those of others, late answers, late news, slow reads: everything once, in the mailbox's order."""
    asyncio.run(_play(actions))


async def _play(actions: list[str]) -> None:
    mailbox = Mailbox(instant=False)
    feed = make(mailbox)
    unanswered: deque[tuple[Entry, int]] = deque()
    news: deque[int] = deque()
    taken: list[int] = []
    deleted: list[EntryId] = []
    number = foreign = 0
    permits = asyncio.Semaphore(0)

    async def consume() -> None:
        while True:
            await permits.acquire()
            taken.extend(e.id[0] for e in await feed.take())

    consumer = asyncio.create_task(consume())
    for action in actions:
        if action == "append":
            number += 1
            mailbox.append(entry(number))
            unanswered.append((entry(number), foreign))
        elif action == "foreign":
            number += 1
            foreign += 1
            mailbox.append(entry(number))
            news.append(foreign)
        elif action == "answer" and unanswered:
            feed.offer(*unanswered.popleft())
        elif action == "tell" and news:
            feed.poke(news.popleft())
        elif action == "look":
            feed.look()
        elif action == "execute":
            mailbox.execute()
        elif action == "return":
            mailbox.give_back()
        elif action == "take":
            permits.release()
        elif action == "delete":
            deleted = [e.id for e in mailbox.entries if e.id[0] in taken]
            mailbox.entries = [e for e in mailbox.entries if e.id[0] not in taken]
            feed.forget(deleted)
        await settle()
        assert feed.queued <= PAGE + QUEUE
    while unanswered:
        feed.offer(*unanswered.popleft())
    feed.poke(foreign)
    mailbox.instant = True
    for _ in range(number + 5):
        permits.release()
        while mailbox.reads or mailbox.executed:
            mailbox.execute()
            mailbox.give_back()
            await settle()
        await settle()
    consumer.cancel()
    assert taken == list(range(1, number + 1))
