"""Single posts: what each kind of trouble on the way is called, and what it stops (spec rmb 6.8)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest

from relay.federation.places import PlaceRefused, Places
from relay.federation.post_speaker import FAILURES_MAX, PostSpeaker, open_session
from relay.federation.resolver import CheckedResolver
from relay.federation.speaker import Accepted, Outcome, Queued, Refused, TryAgain
from tests.support.federation import queued
from tests.support.rmb_rs_relay import RmbRsRelay, Whim, rmb_rs_relay

HOME = Places(frozenset({"localhost:1"}))


@pytest.fixture
async def far() -> AsyncIterator[RmbRsRelay]:
    async with rmb_rs_relay() as relay:
        yield relay


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(HOME, 60.0) as opened:
        yield opened


def speaker(session: aiohttp.ClientSession, name: str, places: Places = HOME, **options: Any) -> PostSpeaker:
    return PostSpeaker(name, session, places, **{"parallel": 4, "answer_s_max": 60.0, **options})


def batch(*destinations: int) -> list[Queued]:
    return [queued(twin, str(number), number=number + 1) for number, twin in enumerate(destinations)]


def reasons(outcomes: Any) -> list[str]:
    return ["accepted" if isinstance(outcome, Accepted) else outcome.reason for outcome in outcomes]


@pytest.mark.parametrize(
    ("whim", "expected"),
    [
        (Whim(hang=True), ("timeout", "did not answer in time")),
        (Whim(cut=True), ("cut", "broke the connection off")),
        (Whim(raw=b"\x00\xff\r\n\r\n"), ("garbage", "does not answer like a relay")),
        (Whim(500, b"x" * 100_000), ("failing", "answered 500: " + "x" * 199 + "…")),
    ],
    ids=["hang", "cut", "garbage", "endless"],
)
async def test_kinds_of_trouble(
    session: aiohttp.ClientSession, far: RmbRsRelay, whim: Whim, expected: tuple[str, str]
) -> None:
    """Told apart, with the relay's name."""
    far.whim = whim
    [outcome] = await speaker(session, far.name, answer_s_max=0.3 if whim.hang else 60.0).deliver(batch(9))
    assert outcome == TryAgain(expected[0], f"relay {far.name} {expected[1]}")


async def test_nobody_there(session: aiohttp.ClientSession) -> None:
    """A closed port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    [outcome] = await speaker(session, f"localhost:{port}").deliver(batch(9))
    assert isinstance(outcome, TryAgain)
    assert outcome.reason == "unreachable"
    assert outcome.text.startswith(f"relay localhost:{port} cannot be reached: ")


async def test_no_tls(far: RmbRsRelay) -> None:
    """A relay whose certificate cannot be checked is not trusted."""
    places = Places(frozenset({"localhost:1"}), places={"b.test": f"https://{far.name}/"})
    async with open_session(places, 60.0) as session:
        [outcome] = await speaker(session, "b.test", places).deliver(batch(9))
    assert isinstance(outcome, TryAgain)
    assert outcome.reason == "unreachable"
    assert far.received == []


async def test_one_destination_is_sick(session: aiohttp.ClientSession, far: RmbRsRelay) -> None:
    """What is for it stops at the first failure; the others go on, each in its order."""
    far.twin_whims[9] = Whim(500)
    outcomes = await speaker(session, far.name).deliver(batch(9, 10, 9, 11, 10, 9))
    assert reasons(outcomes) == ["failing", "accepted", "failing", "accepted", "accepted", "failing"]
    assert (far.posts, far.uids_for(10)) == (4, ["1", "4"])


@pytest.mark.parametrize("whim", [Whim(429), Whim(503), Whim(cut=True)], ids=["429", "503", "cut"])
async def test_the_relay_is_sick(session: aiohttp.ClientSession, far: RmbRsRelay, whim: Whim) -> None:
    """Nothing more is started: what was under way ends, the rest has the same trouble."""
    far.whim = whim
    outcomes = await speaker(session, far.name, parallel=1).deliver(batch(*range(20, 40)))
    assert far.posts == 1
    assert len(set(outcomes)) == 1
    assert isinstance(outcomes[0], TryAgain)


async def test_everybody_is_sick(session: aiohttp.ClientSession, far: RmbRsRelay) -> None:
    """After a few destinations that fail one after the other the relay is given a rest."""
    far.whim = Whim(500)
    outcomes = await speaker(session, far.name, parallel=1).deliver(batch(*range(20, 40)))
    assert far.posts == FAILURES_MAX
    assert set(reasons(outcomes)) == {"failing"}


async def test_refusals_stop_nothing(session: aiohttp.ClientSession, far: RmbRsRelay) -> None:
    """They concern one envelope."""
    far.whims.extend([Whim(404, b"destination offline"), Whim(413)])
    outcomes = await speaker(session, far.name).deliver(batch(9, 9, 9))
    assert reasons(outcomes) == ["offline", "too_large", "accepted"]


async def test_signed(session: aiohttp.ClientSession, far: RmbRsRelay) -> None:
    """Headers that say who posts are made for each body; other relays ignore them."""
    seen: list[tuple[str, bytes]] = []

    def sign(name: str, body: bytes) -> dict[str, str]:
        seen.append((name, body))
        return {"Authorization": "RMB-Relay x"}

    [entry] = batch(9)
    assert await speaker(session, far.name, sign=sign).deliver([entry]) == [Accepted()]
    assert far.headers["Authorization"] == "RMB-Relay x"
    assert seen == [(far.name, entry.data)]


async def test_bytes_that_are_no_envelope(session: aiohttp.ClientSession, far: RmbRsRelay) -> None:
    """The other relay says what it thinks of them."""
    [outcome] = await speaker(session, far.name).deliver([Queued("1-0", b"\xff", 1)])
    assert isinstance(outcome, Refused)
    assert f"{far.name} answered 400: bad request: " in outcome.text


async def test_forbidden(session: aiohttp.ClientSession) -> None:
    """A place that must not be spoken to is a refusal, not a failure."""
    [outcome] = await speaker(session, "10.0.0.1").deliver(batch(9))
    text = "remote relay rejected permanently: 10.0.0.1 is at an address that is not public"
    assert outcome == Refused("forbidden", text)


async def test_names_that_lead_inside(far: RmbRsRelay) -> None:
    """The address decides, when the name has been resolved: no connection is made."""
    public = Places(frozenset({"a.test"}))
    async with open_session(public, 60.0) as session:
        port = far.name.partition(":")[2]
        inside = _Inside(public, far.name)
        [outcome] = await speaker(session, f"localhost:{port}", inside).deliver(batch(9))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "forbidden"
    assert "not public" in outcome.text
    assert far.connections == 0


async def test_the_resolver() -> None:
    """Only addresses that pass; none is an error that says why."""
    refusing = CheckedResolver(Places(frozenset({"a.test"})))
    passing = CheckedResolver(HOME)
    try:
        with pytest.raises(PlaceRefused, match="not public"):
            await refusing.resolve("localhost", 80)
        found = await passing.resolve("localhost", 80)
        assert found
        assert all(ip_address(address["host"]).is_loopback for address in found)
    finally:
        await refusing.close()
        await passing.close()


async def test_a_post_that_is_broken_off(session: aiohttp.ClientSession, far: RmbRsRelay) -> None:
    """Cancelled, as when a relay stops: nothing is left behind."""
    far.whim = Whim(hang=True)
    delivering = asyncio.create_task(_deliver(speaker(session, far.name), batch(9, 10)))
    while far.posts < 2:
        await asyncio.sleep(0.005)
    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering


async def _deliver(post: PostSpeaker, entries: list[Queued]) -> list[Outcome]:
    return list(await post.deliver(entries))


class _Inside(Places):
    """Says yes to a name whose address nobody has looked at."""

    def __init__(self, inner: Places, name: str) -> None:
        super().__init__(frozenset())
        self._name = name

    def url(self, name: str) -> str:
        return f"http://{self._name}/"
