"""Which processes live, by the store's clock."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.members import Members
from tests.support.relay import until
from tests.support.services import valkey

LONG_S = 600.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    async with valkey(tmp_path) as (_, client):
        yield client


async def test_those_who_join_see_each_other(store: Any) -> None:
    """Each beat tells about the others, and how often a process has begun; who leaves is gone at once."""
    one, two = Members(store, "one", life_s=LONG_S), Members(store, "two", life_s=LONG_S)
    first = await one.beat(joining=True)
    assert (first.lived, first.joins, first.others) == (False, 1, frozenset())
    second = await two.beat(joining=True)
    assert (second.joins, second.others) == (2, frozenset({"one"}))
    again = await one.beat()
    assert (again.lived, again.joins, again.others) == (True, 2, frozenset({"two"}))
    assert await one.joins() == 2
    await two.leave()
    await two.leave()
    assert (await one.beat()).others == frozenset()


async def test_the_silent_are_taken_for_dead(store: Any) -> None:
    """Whoever says nothing for its time is no longer there for others, and learns that when it comes back."""
    silent, other = Members(store, "silent", life_s=0.05), Members(store, "other", life_s=LONG_S)
    await silent.beat(joining=True)

    async def is_gone() -> bool:
        return not (await other.beat()).others

    await until(is_gone)
    back = await silent.beat()
    assert not back.lived
    assert back.others == {"other"}


async def test_joining_is_announced(store: Any) -> None:
    """Others need not wait for their next beat to hear of it; an ordinary beat is not news."""
    channels = store.pubsub()
    await channels.subscribe("relay.processes")
    members = Members(store, "one", life_s=LONG_S)
    await members.beat(joining=True)
    await members.beat()
    await store.publish("relay.processes", "end")
    news: list[bytes] = []
    while not news or news[-1] != b"end":
        message = await channels.get_message(timeout=None)
        if message["type"] == "message":
            news.append(message["data"])
    assert news == [b"one", b"end"]
    await channels.aclose()
