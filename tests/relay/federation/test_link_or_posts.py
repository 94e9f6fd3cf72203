"""Which way to another relay is taken."""

from collections.abc import Sequence
from typing import Any

import pytest

from relay.federation.link_or_posts import POSTS_S, UNKNOWN_S, LinkOrPosts, offers_link
from relay.federation.link_speaker import LinkRefused
from relay.federation.speaker import Accepted, Outcome, Queued

BATCH = [Queued("1", b"", 2**40)]


class Recorder:
    """Takes everything, or refuses to.

    Attributes:
        batches: how many came.
        closed: how often it was closed.
        refusing: whether it says that there is no link.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.closed = 0
        self.refusing = False

    async def deliver(self, batch: Sequence[Queued]) -> Sequence[Outcome]:
        if self.refusing:
            raise LinkRefused("no")
        self.batches += 1
        return [Accepted()] * len(batch)

    async def close(self) -> None:
        self.closed += 1


class Scene:
    """A speaker with two ways, and time.

    Attributes:
        offer: what the relay says.
        asked: how often it was asked.
    """

    def __init__(self, offer: bool | None) -> None:
        self.offer = offer
        self.asked = 0
        self.now_s = 1000.0
        self.link, self.posts = Recorder(), Recorder()
        self.speaker = LinkOrPosts("far.test", self.link, self.posts, self.offered, lambda: self.now_s)

    async def offered(self) -> bool | None:
        self.asked += 1
        return self.offer

    async def way(self, pause_s: float = 0.0) -> str:
        """Which one a batch takes after a while."""
        self.now_s += pause_s
        before = self.link.batches
        assert await self.speaker.deliver(BATCH) == [Accepted()]
        return "link" if self.link.batches > before else "posts"


async def test_the_link_is_preferred() -> None:
    """Once offered, nothing is asked again."""
    scene = Scene(True)
    assert [await scene.way(), await scene.way(2 * POSTS_S)] == ["link", "link"]
    assert scene.asked == 1


async def test_no_link_is_offered() -> None:
    """Posts; it is asked again after a while."""
    scene = Scene(False)
    assert [await scene.way(), await scene.way(POSTS_S - 1)] == ["posts", "posts"]
    assert scene.asked == 1
    scene.offer = True
    assert await scene.way(1) == "link"


async def test_nobody_can_tell() -> None:
    """Posts, which say what is wrong; it is asked again soon."""
    scene = Scene(None)
    assert [await scene.way(), await scene.way(UNKNOWN_S - 1)] == ["posts", "posts"]
    assert scene.asked == 1
    scene.offer = True
    assert await scene.way(1) == "link"


async def test_the_link_is_refused_all_the_same() -> None:
    """The batch goes by posts at once, and later ones do for a while."""
    scene = Scene(True)
    scene.link.refusing = True
    assert [await scene.way(), await scene.way(POSTS_S - 1)] == ["posts", "posts"]
    scene.link.refusing = False
    assert await scene.way(1) == "link"
    assert scene.asked == 2


async def test_both_are_closed() -> None:
    """With the one that has them."""
    scene = Scene(True)
    await scene.speaker.close()
    assert (scene.link.closed, scene.posts.closed) == (1, 1)


@pytest.mark.parametrize(
    ("card", "offered"),
    [
        ({"protocols": ["rmb.1", "rmb.2"], "federation": {"link": True}}, True),
        ({"protocols": ["rmb.1"], "federation": {"link": True}}, False),
        ({"protocols": ["rmb.1", "rmb.2"], "federation": {"link": False}}, False),
        ({"protocols": ["rmb.1", "rmb.2"], "federation": {"link": "yes"}}, False),
        ({"protocols": ["rmb.1", "rmb.2"], "federation": {}}, False),
        ({"protocols": ["rmb.1", "rmb.2"]}, False),
        ({"protocols": "rmb.2", "federation": {"link": True}}, False),
        ({"protocols": None, "federation": []}, False),
        ({}, False),
    ],
)
def test_what_offers_a_link(card: dict[str, Any], offered: bool) -> None:
    """Both have to be said: rmb.2, and that other relays may use it. Strangers may publish anything."""
    assert offers_link(card) is offered
