"""A gateway's link and a relay with limits: each refusal is met as it was meant."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay.admission import hash_of
from relay.limit_settings import LimitSettings
from rmb_peer.protocol.address import Address
from rmb_peer.transport import relay_link
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.relay_link import RelayLink
from tests.support.parcels import Endings, OneQueue
from tests.support.relay import Directory, TestBed, relay, request, token, until


class Link:
    """A link of twin 7 with parcels to send."""

    def __init__(self, bed: TestBed, ticket_of: Callable[[str], str | None], offers: tuple[str, ...]) -> None:
        self.source, self.endings = OneQueue(), Endings()
        self.link = RelayLink(
            bed.app.url,
            self.source,
            Inbox(),
            make_token=lambda: token(Address(7)),
            clock=time.monotonic,
            random=lambda: 0.5,
            message_bytes_max=10_000_000,
            twin=7,
            offers=offers,
            ticket_of=ticket_of,
        )

    @property
    def last_error(self) -> str:
        return (self.link.status().last_error or (0, ""))[1]


@asynccontextmanager
async def link(bed: TestBed, ticket: str | None = None, offers: tuple[str, ...] = ("rmb.2",)) -> AsyncIterator[Link]:
    made = Link(bed, lambda url: ticket, offers)
    running = asyncio.create_task(made.link.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("offers", [("rmb.2",), ()], ids=["rmb.2", "rmb.1"])
async def test_a_ticket_opens(tmp_path: Path, offers: tuple[str, ...]) -> None:
    """With it the link is up, in both protocols; without it the status says what to do, and rmb.2 is still offered."""
    tickets = tmp_path / "tickets"
    tickets.write_text(hash_of("open sesame").hex())
    limits = LimitSettings(admission="ticket", ticket_file=tickets)
    async with relay(tmp_path, Directory(7), limits=limits) as bed:
        async with link(bed, "open sesame", offers) as one:
            await until(lambda: one.link.connected)
            tickets.write_text("")
            bed.reload()
            await until(lambda: "no longer admitted" in one.last_error)
        async with link(bed, None, offers) as one:
            await until(lambda: one.last_error)
            assert one.last_error.startswith("relay does not admit this twin: 403 twin 7 needs a ticket")
            assert "--relay-ticket-file" in one.last_error
            assert one.link._offer.make() == offers


@pytest.mark.parametrize("offers", [("rmb.2",), ()], ids=["rmb.2", "rmb.1"])
async def test_a_message_too_large_for_the_relay(
    tmp_path: Path, offers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused for good instead of ending one connection after the other; what was behind it arrives."""
    monkeypatch.setattr(relay_link, "RETRY_S_FIRST", 0.01)
    async with relay(tmp_path, Directory(7), message_bytes_max=1000) as bed, link(bed, None, offers) as one:
        await until(lambda: one.link.connected)
        for uid, size in (("small", 0), ("large", 1_000_000), ("next", 0)):
            parcel = one.endings.parcel(uid)
            parcel.data = request(7, 7, uid, payload=bytes(size)).SerializeToString()
            one.source.pending.append(parcel)
        one.link.wake()
        await until(lambda: len(one.endings.all) == 3)
        ended = dict(one.endings.all)
        assert "message is too large: at most 1000 bytes are accepted" in str(ended["large"])
        assert "too large" not in str(ended["small"]) + str(ended["next"])
