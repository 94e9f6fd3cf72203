"""Who is connected: newest wins, and nobody removes the newcomer (spec rmb 6.2, 10.4)."""

import pytest

from relay.feed import Feed
from relay.mailboxes import START, EntryId, Page
from relay.sessions import RelayFull, Sessions
from rmb_peer.protocol.address import Address


async def nothing(after: EntryId) -> Page:
    return Page([], START, True)


def feed() -> Feed:
    return Feed(nothing)


async def test_the_newest_wins_and_the_older_is_told() -> None:
    """A second registration of the same identity takes the place; the first hears of it once."""
    sessions, told = Sessions(10), []
    first = sessions.register(Address(7), feed(), lambda: told.append("first"))
    second = sessions.register(Address(7), feed(), lambda: told.append("second"))
    assert told == ["first"]
    assert sessions.get(Address(7)) is sessions.find(7, None) is second
    assert sessions.find(7, "") is None
    assert second.generation > first.generation
    assert len(sessions) == 1


async def test_the_evicted_cannot_unregister_the_newcomer() -> None:
    """C8: an old connection that ends late leaves the new entry alone."""
    sessions = Sessions(10)
    first = sessions.register(Address(7), feed(), lambda: None)
    second = sessions.register(Address(7), feed(), lambda: None)
    sessions.unregister(first)
    assert sessions.get(Address(7)) is second
    sessions.unregister(second)
    sessions.unregister(second)
    assert sessions.get(Address(7)) is None


async def test_absent_and_empty_session_ids_are_two_sessions() -> None:
    """C4: (7, none) and (7, "") live side by side."""
    sessions = Sessions(10)
    without = sessions.register(Address(7), feed(), lambda: pytest.fail("not the same session"))
    empty = sessions.register(Address(7, ""), feed(), lambda: None)
    assert sessions.get(Address(7)) is without
    assert sessions.get(Address(7, "")) is empty
    assert set(sessions) == {without, empty}


async def test_the_table_is_bounded() -> None:
    """Beyond the limit nobody new gets in, but a reconnecting session does, and so does one after another left."""
    sessions = Sessions(2)
    first = sessions.register(Address(1), feed(), lambda: None)
    sessions.register(Address(2), feed(), lambda: None)
    with pytest.raises(RelayFull):
        sessions.register(Address(3), feed(), lambda: None)
    replaced = sessions.register(Address(1), feed(), lambda: None)
    sessions.unregister(first)
    assert len(sessions) == 2
    sessions.unregister(replaced)
    sessions.register(Address(3), feed(), lambda: None)
