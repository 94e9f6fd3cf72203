"""Presence for those who ask, and the relay that has nobody to ask."""

from relay.feed import Feed
from relay.horizon import UNKNOWN
from relay.mailboxes import START, EntryId, Page, Receipt
from relay.presence import ALONE, LookupWithPresence, connected_elsewhere
from relay.presence_script import foreign_of
from relay.sessions import Session, Sessions
from rmb_peer.protocol.address import Address
from tests.support.relay import Directory


async def nothing(after: EntryId) -> Page:
    return Page([], START, True)


class Elsewhere:
    """Knows nothing until it is asked."""

    def __init__(self, others: bool, *there: Address) -> None:
        self.others = others
        self.asked: list[int] = []
        self._there = there

    enter = ALONE.enter

    def leave(self, session: Session) -> None: ...

    def peek(self, owner: Address) -> bool | None:
        return owner in self._there if owner.twin in self.asked else None

    async def ask(self, twin: int) -> None:
        self.asked.append(twin)


async def test_alone() -> None:
    """Nothing is elsewhere, nobody is asked, and a session may use every short cut at once."""
    session = Sessions(1).register(Address(7), Feed(nothing), lambda: None)
    assert session.since == UNKNOWN
    await ALONE.enter(session)
    assert session.since == 0
    ALONE.leave(session)
    assert not await connected_elsewhere(ALONE, Address(7))


async def test_asking_when_need_be() -> None:
    """One question, then it is known."""
    presence = Elsewhere(True, Address(7, "a"))
    assert await connected_elsewhere(presence, Address(7, "a"))
    assert not await connected_elsewhere(presence, Address(7))
    assert presence.asked == [7]


async def test_look_ups_ask_while_there_are_others() -> None:
    """The question about a twin finds out where it is, too; alone it does not."""
    for others, asked in ((True, [7]), (False, [])):
        presence = Elsewhere(others)
        lookup = LookupWithPresence(Directory(7), presence)
        assert await lookup.get(7) == lookup.peek(7) is not None
        assert presence.asked == asked


def test_counts_of_an_older_registration_are_ignored() -> None:
    """Only what was counted since this registration says anything about its feed."""
    assert foreign_of(Receipt((1, 0), 1, (5, 3)), 5) == 3
    assert foreign_of(Receipt((1, 0), 1, (4, 3)), 5) == 0
    assert foreign_of(Receipt((1, 0), 1), 5) == 0
