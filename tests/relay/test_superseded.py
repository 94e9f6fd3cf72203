"""Two gateways of ours with one identity, and a real relay: one of them stays away, and says why."""

import asyncio
import time

import pytest

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.link.endings import Outcome
from rmb_peer.transport import close_reasons
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.relay_link import RelayLink
from tests.support.relay import TestBed, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


class NoParcels:
    """A source that never has anything to send."""

    def next_parcel(self, link: RelayLink) -> Parcel | None:
        return None

    def arrived(self, link: RelayLink, parcel: Parcel, reached: Reached) -> None:
        raise AssertionError("nothing was sent")

    def refused(self, link: RelayLink, parcel: Parcel, outcome: Outcome) -> None:
        raise AssertionError("nothing was sent")

    def give_back(self, link: RelayLink, parcels: list[Parcel]) -> None:
        assert not parcels

    def link_changed(self, link: RelayLink) -> None:
        pass


def link_to(bed: TestBed) -> RelayLink:
    return RelayLink(
        bed.app.url,
        NoParcels(),
        Inbox(),
        make_token=lambda: token(Address(7)),
        clock=time.monotonic,
        random=lambda: 0.0,
        message_bytes_max=1000,
        twin=7,
    )


def said(link: RelayLink) -> str:
    return (link.status().last_error or (0.0, ""))[1]


async def test_the_older_one_stays_away(bed: TestBed) -> None:
    """It is told apart from a lost connection, the pause is said, and the newer one keeps its session."""
    first, second = link_to(bed), link_to(bed)
    tasks = [asyncio.create_task(first.run())]
    await until(lambda: first.connected)
    tasks.append(asyncio.create_task(second.run()))
    await until(lambda: "took over" in said(first))
    assert said(first) == (
        "another gateway with this identity took over: stop one of the two; this one tries again in 60 s"
    )
    assert second.connected and not first.connected
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_they_take_over_more_and_more_seldom(bed: TestBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pauses shortened: each time one is evicted it stays away for twice as long."""
    monkeypatch.setattr(close_reasons, "SUPERSEDED_RETRY_S", 0.01)
    heard: dict[int, list[float]] = {0: [], 1: []}
    links = [link_to(bed), link_to(bed)]
    for number, link in enumerate(links):
        closed = link._manners.closed

        def counted(code: int, reason: str, held_s: float, number: int = number, closed=closed) -> float:  # type: ignore[no-untyped-def]
            heard[number].append(closed(code, reason, held_s))
            return heard[number][-1]

        monkeypatch.setattr(link._manners, "closed", counted)
    tasks = [asyncio.create_task(link.run()) for link in links]
    await until(lambda: min(map(len, heard.values())) >= 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for pauses in heard.values():
        assert pauses[:3] == [0.01, 0.02, 0.04]
