"""The follower against the stand-in node, while things go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rmb_peer.registry.tfchain.block_events import TwinEvent
from rmb_peer.registry.tfchain.connection import accept_any
from rmb_peer.registry.tfchain.follower import ChainFollower, Stage
from rmb_peer.registry.tfchain.following import Following
from rmb_peer.registry.tfchain.reading import ChainCheck
from tests.support.chain import Drop, Fail, Hold, Ignore, Raw, Result, StandIn, needs_chain_data, stand_in_node

pytestmark = needs_chain_data

PATIENCE_S = 60.0
ACCOUNT, OTHER = b"\1" * 32, b"\2" * 32
EVENTS = "state_getStorage"


class Heard:
    """Everything that a follower told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.block = -1
        self.lost: list[bool] = []
        self._changed = asyncio.Event()

    def twin_changed(self, news: TwinEvent) -> None:
        self._add((news.kind, news.twin.id, *sorted(news.twin.relays)))

    def twins_doubtful(self, twins: frozenset[int]) -> None:
        self._add(("doubtful", *sorted(twins)))

    def all_doubtful(self) -> None:
        self._add("all doubtful")

    def failed(self, stage: Stage) -> None:
        self._add(("failed", stage))

    def block_done(self, number: int) -> None:
        self.block = number
        self._changed.set()

    def reconnecting(self, now: bool) -> None:
        self.lost.append(now)
        self._changed.set()

    def _add(self, what: Any) -> None:
        self.told.append(what)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is true; it is looked at again whenever something was told."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def at(self, node: StandIn) -> None:
        """Wait until everything up to the best block was told."""
        await self.until(lambda: self.block == node.best.number)


@asynccontextmanager
async def followed(*nodes: StandIn, **options: Any) -> AsyncIterator[Heard]:
    """A follower that has taken its position."""
    heard = Heard()
    waits = {name: options.pop(name) for name in ("catchup_blocks_max", "stall_s") if name in options}
    follower = ChainFollower(
        [node.url for node in nodes],
        heard,
        following=Following(clock=asyncio.get_running_loop().time, **waits),
        pause_s=(0.01, 0.05),
        **options,
    )
    follower.start()
    try:
        await heard.at(nodes[0])
        yield heard
    finally:
        await follower.stop()


async def test_twins_are_told_as_they_are_created_and_changed() -> None:
    """The first head makes everything doubtful once; then each event is told, in order."""
    async with stand_in_node() as node:
        node.put_twin(OTHER, relay="before.test")
        async with followed(node, check=ChainCheck()) as heard:
            node.put_twin(ACCOUNT, relay="one.test")
            node.put_twin(ACCOUNT, relay="one.test_two.test")
            await heard.at(node)
            assert heard.told == ["all doubtful", ("stored", 2, "one.test"), ("updated", 2, "one.test", "two.test")]
            assert heard.lost == []


async def test_skipped_heads_are_caught_up() -> None:
    """Blocks that nobody announced are told when the next one comes."""
    async with stand_in_node() as node, followed(node) as heard:
        node.put_twin(ACCOUNT, relay="one.test", announce=False)
        node.produce(3, announce=False)
        node.put_twin(OTHER, relay="two.test")
        await heard.at(node)
        assert heard.told[1:] == [("stored", 1, "one.test"), ("stored", 2, "two.test")]


@pytest.mark.parametrize(("missed", "replayed"), [(3, True), (4, False)])
async def test_the_threshold_of_the_catch_up(missed: int, replayed: bool) -> None:
    """After an outage: so many blocks are replayed; after one more, everything is doubtful instead."""
    async with stand_in_node() as node, followed(node, catchup_blocks_max=3) as heard:
        await node.go_away()
        node.put_twin(ACCOUNT, relay="one.test")
        node.produce(missed - 1)
        await node.listen()
        await heard.at(node)
        assert heard.told[1:] == ([("stored", 1, "one.test")] if replayed else ["all doubtful"])
        await heard.until(lambda: heard.lost[-1:] == [False])
        assert heard.lost[0] is True


async def test_a_reorganised_block() -> None:
    """What the abandoned block said is doubtful; what the branch says is told."""
    async with stand_in_node(finality_lag=100) as node, followed(node) as heard:
        node.put_twin(ACCOUNT, relay="one.test")
        node.put_twin(ACCOUNT, relay="gone.test")
        await heard.at(node)
        node.reorganise(1)
        node.put_twin(ACCOUNT, relay="two.test")
        await heard.at(node)
        assert heard.told[1:] == [
            ("stored", 1, "one.test"), ("updated", 1, "gone.test"), ("doubtful", 1), ("updated", 1, "two.test"),
        ]  # fmt: skip


async def test_moved_pallets() -> None:
    """After a new runtime events are read with its numbers, and those of the block before with the old ones."""
    async with stand_in_node() as node, followed(node) as heard:
        node.put_twin(ACCOUNT, relay="old.test", announce=False)
        node.upgrade()
        node.put_twin(ACCOUNT, relay="new.test")
        await heard.at(node)
        assert heard.told[1:] == [("stored", 1, "old.test"), ("updated", 1, "new.test")]


BROKEN = {
    "events-dropped-before": (EVENTS, Drop("before")),
    "events-dropped-midway": (EVENTS, Drop("midway")),
    "events-garbage": (EVENTS, Raw("\0{]")),
    "events-no-hex": (EVENTS, Result("0xzz")),
    "events-a-number": (EVENTS, Result(7)),
    "head-dropped": ("chain_newHead", Drop()),
    "head-garbage": ("chain_newHead", Raw(b"\xff\x00")),
    "head-empty": ("chain_newHead", Result({})),
    "head-null": ("chain_newHead", Result(None)),
    "header-garbage": ("chain_getHeader", Result([1])),
    "version-dropped": ("state_getRuntimeVersion", Drop("after")),
    "version-null": ("state_getRuntimeVersion", Result(None)),
}  # fmt: skip


@pytest.mark.parametrize(("method", "action"), BROKEN.values(), ids=BROKEN.keys())
async def test_nothing_is_lost_when_a_connection_breaks(method: str, action: Any) -> None:
    """Wherever it breaks: it connects again, and each change is told, once."""
    async with stand_in_node() as node, followed(node) as heard:
        node.faults.on(method, action, times=1)
        node.put_twin(ACCOUNT, relay="one.test", announce=False)
        node.put_twin(ACCOUNT, relay="two.test")
        await heard.at(node)
        assert heard.told[1:] == [("stored", 1, "one.test"), ("updated", 1, "two.test")]
        assert heard.lost[:1] == [True]


@pytest.mark.parametrize("missing", ["events", "header"])
async def test_a_node_that_does_not_keep_what_was_missed(missing: str) -> None:
    """Everything is doubtful then, and following goes on at the head."""
    async with stand_in_node(state_blocks=2) as node, followed(node) as heard:
        if missing == "header":
            node.faults.on("chain_getHeader", Result(None), times=1)
        node.put_twin(ACCOUNT, relay="one.test", announce=False)
        node.produce(4, announce=False)
        node.produce()
        await heard.at(node)
        assert heard.told[1:] == ["all doubtful"]
        node.put_twin(ACCOUNT, relay="two.test")
        await heard.at(node)
        assert heard.told[2:] == [("updated", 1, "two.test")]


async def test_events_that_cannot_be_read() -> None:
    """They are counted, everything is doubtful, and following goes on."""
    async with stand_in_node() as node, followed(node) as heard:
        node.faults.on(EVENTS, Result("0x0400000000" + "190b" + "ff" * 10), times=1)
        node.produce()
        await heard.at(node)
        assert heard.told[1:] == [("failed", "decode"), "all doubtful"]


async def test_a_silent_node_is_left_for_the_next() -> None:
    """No new block for the time of a stall: the next URL is used."""
    async with stand_in_node() as node, node.mirror() as second, followed(node, second, stall_s=1.0) as heard:
        node.faults.on("chain_newHead", Ignore())
        node.put_twin(ACCOUNT, relay="one.test")
        await heard.until(lambda: ("stored", 1, "one.test") in heard.told)
        assert heard.lost[0] is True


async def test_a_node_that_is_gone_is_left_for_the_next() -> None:
    """Connection refused: the next URL is used; what was missed meanwhile is told."""
    async with stand_in_node() as node, node.mirror() as second, followed(node, second) as heard:
        await node.go_away()
        node.put_twin(ACCOUNT, relay="one.test")
        await heard.at(node)
        assert heard.told[1:] == [("stored", 1, "one.test")]
        assert second.clients == 1


async def test_a_node_of_another_chain_is_not_followed() -> None:
    """Its blocks say nothing about our twins; the right node is waited for."""
    async with (
        stand_in_node() as node,
        stand_in_node(name="another") as wrong,
        followed(node, wrong, check=ChainCheck()) as heard,
    ):
        await node.go_away()
        wrong.put_twin(OTHER, relay="wrong.test")
        await heard.until(lambda: len(heard.lost) > 2)
        node.put_twin(ACCOUNT, relay="right.test")
        await node.listen()
        await heard.at(node)
        assert heard.told[1:] == [("stored", 1, "right.test")]


async def test_a_node_that_refuses_subscriptions() -> None:
    """It is tried again; nothing is told."""
    async with stand_in_node() as node, followed(node) as heard:
        node.faults.on("chain_subscribeNewHeads", Fail(-32601, "no"), times=3)
        node.drop_connections()
        await heard.until(lambda: heard.lost[-1:] == [False])
        assert heard.lost.count(True) >= 4


@pytest.mark.parametrize("method", [EVENTS, "chain_subscribeNewHeads", "chain_getBlockHash"])
async def test_stopping_waits_for_nobody(method: str) -> None:
    """A follower that waits for an answer stops, and tells nothing afterwards."""
    async with stand_in_node() as node:
        hold = node.faults.on(method, Hold())
        heard = Heard()
        following = Following(clock=asyncio.get_running_loop().time)
        follower = ChainFollower([node.url], heard, following=following, check=accept_any)
        follower.start()
        if method == EVENTS:
            await heard.at(node)
            node.put_twin(ACCOUNT, relay="one.test")
        await asyncio.wait_for(hold.reached.wait(), PATIENCE_S)
        told = list(heard.told)
        await follower.stop()
        hold.release.set()
        node.produce()
        await asyncio.sleep(0)
        assert heard.told == told
