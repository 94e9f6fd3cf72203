"""Keys of other relays: remembered, renewed, and no way to make this relay flood anybody."""

import asyncio
from collections import Counter

import pytest

from relay.federation.peers import (
    ASKING_MAX,
    FAILED_S,
    FRESH_S,
    REFETCH_S,
    STALE_S,
    KeyUnknown,
    RelayKeys,
)

A, B = bytes(32), bytes([1]) * 32


class World:
    """Other relays, and a clock."""

    def __init__(self, **bounds: float) -> None:
        self.published: dict[str, bytes | KeyUnknown] = {"a.test": A}
        self.asked: Counter[str] = Counter()
        self.answering = asyncio.Event()
        self.answering.set()
        self.now = 1000.0
        self.keys = RelayKeys(self._fetch, lambda: self.now, **bounds)  # type: ignore[arg-type]

    async def _fetch(self, name: str) -> bytes:
        self.asked[name] += 1
        await self.answering.wait()
        found = self.published.get(name) or KeyUnknown(f"{name} publishes none", final=True)
        if isinstance(found, KeyUnknown):
            raise found
        return found

    async def refusal(self, name: str, asker: str = "192.0.2.1") -> KeyUnknown:
        with pytest.raises(KeyUnknown) as info:
            await self.keys.key(name, asker)
        return info.value

    async def settled(self) -> None:
        """Questions in the background have been answered."""
        for _ in range(5):
            await asyncio.sleep(0)


async def test_one_question_for_all() -> None:
    """Fifty posts at once, and all later ones, cost one question."""
    world = World()
    world.answering.clear()
    waiting = [asyncio.create_task(world.keys.key("a.test", f"192.0.2.{n}")) for n in range(50)]
    await world.settled()
    world.answering.set()
    assert set(await asyncio.gather(*waiting)) == {A}
    assert await world.keys.key("a.test", "x") == A
    assert world.asked == {"a.test": 1}


async def test_a_caller_that_gives_up_spoils_nothing() -> None:
    """The question goes on for the others."""
    world = World()
    world.answering.clear()
    first, second = (asyncio.create_task(world.keys.key("a.test", "x")) for _ in range(2))
    await world.settled()
    first.cancel()
    await world.settled()
    world.answering.set()
    assert await second == A
    assert first.cancelled()


async def test_an_old_key_is_used_while_it_is_renewed() -> None:
    """Nobody waits for a web server that is slow; what it says counts when it is there."""
    world = World()
    await world.keys.key("a.test", "x")
    world.published["a.test"] = B
    world.now += FRESH_S - 1
    assert await world.keys.key("a.test", "x") == A
    await world.settled()
    assert world.asked["a.test"] == 1
    world.now += 1
    assert await world.keys.key("a.test", "x") == A
    await world.settled()
    assert await world.keys.key("a.test", "x") == B
    assert world.asked["a.test"] == 2


async def test_an_outage_of_a_relay_does_not_matter_for_a_day() -> None:
    """Then its key is too old to be believed."""
    world = World()
    await world.keys.key("a.test", "x")
    world.published["a.test"] = KeyUnknown("a.test does not answer", final=False)
    world.now += STALE_S - 1
    assert await world.keys.key("a.test", "x") == A
    await world.settled()
    world.now += FAILED_S + 1
    assert str(await world.refusal("a.test")) == "a.test does not answer"


async def test_a_relay_that_publishes_no_key_any_more() -> None:
    """It is not recognised by the old one."""
    world = World()
    await world.keys.key("a.test", "x")
    del world.published["a.test"]
    world.now += FRESH_S
    await world.keys.key("a.test", "x")
    await world.settled()
    assert (await world.refusal("a.test")).final
    assert len(world.keys) == 0


async def test_a_failure_counts_for_a_while() -> None:
    """A relay that fails is asked again after ten seconds, and the error says how long that is."""
    world = World()
    world.published["b.test"] = KeyUnknown("down", final=False)
    assert (await world.refusal("b.test")).after_s == FAILED_S
    world.now += 4
    assert (await world.refusal("b.test")).after_s == FAILED_S - 4
    assert world.asked["b.test"] == 1
    world.now += FAILED_S - 4
    world.published["b.test"] = B
    assert await world.keys.key("b.test", "x") == B


async def test_a_changed_key() -> None:
    """A signature that fails makes us ask once; the same key again is not asked for again for ten seconds."""
    world = World()
    await world.keys.key("a.test", "x")
    assert await world.keys.newer_key("a.test", A, "x") is None  # it was fetched just now
    assert world.asked["a.test"] == 1
    world.now += REFETCH_S
    assert await world.keys.newer_key("a.test", A, "x") is None
    assert await world.keys.newer_key("a.test", A, "x") is None
    assert world.asked["a.test"] == 2
    world.published["a.test"] = B
    world.now += REFETCH_S
    assert await world.keys.newer_key("a.test", A, "x") == B
    assert await world.keys.newer_key("a.test", A, "x") == B  # somebody who had read the old one before
    assert world.asked["a.test"] == 3


async def test_whether_a_key_has_changed_cannot_be_told() -> None:
    """The relay does not answer: that is no verdict on the signature, and the key we have stays."""
    world = World()
    await world.keys.key("a.test", "x")
    world.published["a.test"] = KeyUnknown("down", final=False)
    world.now += REFETCH_S
    with pytest.raises(KeyUnknown, match="down"):
        await world.keys.newer_key("a.test", A, "x")
    assert await world.keys.key("a.test", "x") == A


async def test_one_address_cannot_make_us_ask_for_ever() -> None:
    """Ten relays at once, then one every six seconds; other addresses, and known relays, are not affected."""
    world = World()
    await world.keys.key("a.test", "198.51.100.1")
    for number in range(10):
        assert str(await world.refusal(f"r{number}.test")) == f"r{number}.test publishes none"
    error = await world.refusal("r10.test")
    assert (str(error), error.final) == ("too many relays with unknown keys from your address", False)
    assert error.after_s == pytest.approx(6)
    assert world.asked["r10.test"] == 0
    assert await world.keys.key("a.test", "192.0.2.1") == A
    assert (await world.refusal("r10.test", "198.51.100.1")).final
    world.now += 6
    await world.refusal("r11.test")
    assert world.asked["r11.test"] == 1


async def test_all_addresses_together_cannot_either() -> None:
    """The bound on all questions holds for any number of addresses."""
    world = World(all_per_minute=5)
    for number in range(5):
        await world.refusal(f"r{number}.test", f"192.0.2.{number}")
    error = await world.refusal("r5.test", "192.0.2.5")
    assert (str(error), error.final) == ("too many relays with unknown keys", False)
    assert error.after_s == pytest.approx(12)
    assert sum(world.asked.values()) == 5


async def test_questions_under_way_are_bounded() -> None:
    """Sixteen at once; the seventeenth is told to come back."""
    world = World()
    world.answering.clear()
    waiting = [asyncio.create_task(world.refusal(f"r{n}.test", f"192.0.2.{n}")) for n in range(ASKING_MAX)]
    await world.settled()
    assert (await world.refusal("late.test", "198.51.100.1")).after_s == 1
    assert world.asked["late.test"] == 0
    world.answering.set()
    await asyncio.gather(*waiting)
    assert (await world.refusal("late.test", "198.51.100.1")).final


async def test_memory_is_bounded() -> None:
    """Keys and failures have places of their own: relays without a key push nobody out."""
    world = World(keys_max=2, failures_max=2, new_per_minute=100)
    world.published |= {"b.test": B, "c.test": B}
    await world.keys.key("a.test", "x")
    await world.keys.key("b.test", "x")
    for number in range(20):
        await world.refusal(f"r{number}.test")
    await world.keys.key("a.test", "x")
    assert world.asked["a.test"] == 1
    await world.keys.key("c.test", "x")
    assert len(world.keys) == 2
    await world.keys.key("b.test", "x")
    assert world.asked["b.test"] == 2


async def test_closing_breaks_off() -> None:
    """Whoever waits is let go."""
    world = World()
    world.answering.clear()
    waiting = asyncio.create_task(world.keys.key("a.test", "x"))
    await world.settled()
    await world.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
