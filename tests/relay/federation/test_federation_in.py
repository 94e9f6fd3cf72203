"""Relays that post to each other: real ones, of which one fetches the key of the other (spec rmb 6.8, 10.5, 10.9)."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from relay.app import RelayApp
from relay.config import RelayConfig
from relay.federation.inbound_settings import InboundSettings
from relay.federation.listed import Listed
from relay.federation.settings import FederationSettings
from relay.federation.signature import sign_post
from relay.identity import RelayIdentity
from relay.keys import IDENTITY
from tests.support.proxy import proxy
from tests.support.relay import Directory, LogLines, TestBed, metric, relay, request, until
from tests.support.services import valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = "localhost:1"
"""The receiving relay's name; nobody connects to it by this name."""


@dataclass
class Pair:
    """A relay that posts, and one that receives.

    Attributes:
        near: posts.
        far: receives, with twin 9.
        name: of `near`, which is where its key is found.
        far_now_s: what the clock of `far` is ahead by.
    """

    near: TestBed
    far: TestBed
    name: str
    far_now_s: float = 0.0

    async def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.far.http}/", data=body, headers=dict(headers)) as answer,
        ):
            return answer.status, await answer.text()

    def sign(self, body: bytes, *, off_s: float = 0, to: str = HERE, identity: RelayIdentity | None = None) -> Any:
        """Headers of the near relay."""
        now_s = time.time() + self.far_now_s + off_s
        return sign_post(identity or self.near.app.identity, self.name, to, body, now_s)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("federation")
    pair: Pair
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(relay(folder / "near", Directory(), domains=()))
        far = await stack.enter_async_context(
            relay(
                folder / "far",
                Directory(),
                domains=(HERE,),
                now_s=lambda: time.time() + pair.far_now_s,
                through=proxy,
                store_patience_s=0.2,
            )
        )
        pair = Pair(near, far, f"localhost:{near.app.address.rpartition(':')[2]}")
        yield pair


@pytest_asyncio.fixture(loop_scope="module")
async def pair(shared_pair: Pair) -> Pair:
    """The shared relays, with twin 9 at the receiving one, and no mail."""
    shared_pair.far.directory.reset(9, relays=(HERE,))
    shared_pair.far_now_s = 0
    store: Any = shared_pair.far.store
    await store.delete("-", *(key for key in await store.keys() if key != IDENTITY.encode()))
    return shared_pair


def envelope(uid: str = "u-1", **options: Any) -> bytes:
    return request(7, 9, uid, **options).SerializeToString()


async def test_a_signed_post(pair: Pair) -> None:
    """The key is found at the relay's name; the envelope is stored as it came."""
    body = envelope() + b"\xa2\x06\x03odd"
    assert await pair.post(body, pair.sign(body)) == (202, "")
    assert await pair.far.waiting("9") == [body]


async def test_nobody_signs(pair: Pair) -> None:
    """401 by default, with what to do; nothing is stored, nor read: the body is not even an envelope."""
    for headers in ({}, {"Authorization": "Bearer x"}):
        status, text = await pair.post(b"\xff", headers)
        assert (status, text) == (
            401,
            "this relay takes messages of relays that sign what they post (RMB-Relay); its operator can accept one "
            "that cannot: rmb-relay --federation-from NAME=127.0.0.1",
        )
    assert await pair.far.keys() == set()
    assert metric(pair.far.app.metrics.text().decode(), 'relay_refusals_total{reason="relay_unsigned"}') >= 2


async def test_a_signature_of_another_body(pair: Pair) -> None:
    """401, with where the key was looked for."""
    text = f"the signature was not made for this body with the relay_key of https://{pair.name}/.well-known/rmb"
    assert await pair.post(envelope("u-2"), pair.sign(envelope("u-1"))) == (401, text)
    assert await pair.far.keys() == set()


async def test_a_signature_of_another_key(pair: Pair) -> None:
    """Nobody posts in the name of a relay without its key."""
    body = envelope()
    assert (await pair.post(body, pair.sign(body, identity=RelayIdentity(bytes(32)))))[0] == 401


async def test_a_broken_header(pair: Pair) -> None:
    """401, and not taken for unsigned."""
    status, text = await pair.post(envelope(), {"Authorization": 'RMB-Relay from="a"'})
    assert (status, text) == (401, "the RMB-Relay header lacks to, ts, sig")


async def test_made_out_to_another_relay(pair: Pair) -> None:
    """A relay that was posted to cannot pass the post on in the name of its sender."""
    body = envelope()
    text = f"the signature is made out to other.test; this relay is {HERE}"
    assert await pair.post(body, pair.sign(body, to="other.test")) == (401, text)


async def test_in_our_own_name(pair: Pair) -> None:
    """A loop, or somebody who lies."""
    body = envelope()
    headers = sign_post(pair.far.app.identity, HERE, HERE, body, time.time())
    assert await pair.post(body, headers) == (401, f"the signature is in the name of this relay itself, {HERE}")


async def test_clocks(pair: Pair) -> None:
    """A clock that is off by more than a minute is refused with both times; by less it is not."""
    body = envelope()
    for off_s in (-70, 70):
        status, text = await pair.post(body, pair.sign(body, off_s=off_s))
        assert status == 401
        assert text.endswith("at most 60 s are accepted: set the clock")
    assert await pair.post(body, pair.sign(body, off_s=-50)) == (202, "")


async def test_the_named_relay_does_not_answer(pair: Pair) -> None:
    """503 and when to try again: a relay whose web server restarts loses nothing."""
    body = envelope()
    headers = sign_post(pair.near.app.identity, "localhost:9", HERE, body, time.time())
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{pair.far.http}/", data=body, headers=headers) as answer,
    ):
        text = (
            "the signature of localhost:9 cannot be checked: localhost:9 cannot be asked for its key: no connection; "
        )
        assert (answer.status, await answer.text()) == (503, text + "try again in 10 s")
        assert answer.headers["Retry-After"] == "10"


async def test_a_private_address_is_not_asked(pair: Pair) -> None:
    """A stranger cannot make this relay connect to what only it can reach."""
    body = envelope()
    headers = sign_post(pair.near.app.identity, "10.0.0.1:6379", HERE, body, time.time())
    status, text = await pair.post(body, headers)
    assert (status, text.partition(": ")[0]) == (401, "the signature of 10.0.0.1:6379 cannot be checked")


async def test_posted_again(pair: Pair) -> None:
    """Whoever did not hear the 202 gets it again, with the same signature or a new one; it is stored once, also when
    many come at the same time."""
    body = envelope()
    assert await pair.post(body, pair.sign(body, off_s=-5)) == (202, "")
    for off_s in (-5, 0, 5):
        assert await pair.post(body, pair.sign(body, off_s=off_s)) == (202, "")
    assert await pair.far.waiting("9") == [body]
    other = envelope("u-2")
    answers = await asyncio.gather(*(pair.post(other, pair.sign(other, off_s=n)) for n in range(10)))
    assert {status for status, _ in answers} <= {202, 503}
    assert 202 in {status for status, _ in answers}
    assert await pair.far.waiting("9") == [body, other]
    assert metric(pair.far.app.metrics.text().decode(), "relay_posts_repeated_total") >= 12


async def test_posted_again_at_another_process(pair: Pair) -> None:
    """The marks are in the store, so they hold for all processes of the relay, and after a restart."""
    body = envelope()
    headers = pair.sign(body)
    assert await pair.post(body, headers) == (202, "")
    config = RelayConfig(domains=(HERE,), redis_url=pair.far.proxy.url, listen_host="127.0.0.1", listen_port=0)
    async with RelayApp(config, lookup=pair.far.directory) as second:
        assert second.identity.public_key == pair.far.app.identity.public_key
        http = second.url.replace("ws://", "http://")
        async with aiohttp.ClientSession() as session, session.post(http, data=body, headers=headers) as answer:
            assert answer.status == 202
    assert await pair.far.waiting("9") == [body]


async def test_refused_and_shown_again(pair: Pair) -> None:
    """What was refused is not taken later because somebody shows it again; its sender may sign it again."""
    body = envelope(tags="fail-fast")
    headers = pair.sign(body)
    assert await pair.post(body, headers) == (404, "destination offline")
    async with pair.far.client(9):
        assert await pair.post(body, headers) == (409, "this very post was refused before")
        assert await pair.post(body, pair.sign(body, off_s=1)) == (202, "")


async def test_the_store_is_away(pair: Pair) -> None:
    """500, so that it is posted again; afterwards even the same signature is taken."""
    body = envelope()
    headers = pair.sign(body)
    pair.far.proxy.cut()
    try:
        status, text = await pair.post(body, headers)
        assert (status, text.partition(":")[0]) == (500, "switch error")
    finally:
        pair.far.proxy.down = False

    async def taken() -> bool:
        return await pair.post(body, headers) == (202, "")

    await until(taken)
    assert await pair.far.waiting("9") == [body]


async def test_a_relay_with_a_new_key(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that lost its store signs with a new key: it is asked once more, and believed."""
    monkeypatch.setattr("relay.federation.peers.REFETCH_S", 0.0)
    keys = [tmp_path / f"{n}.key" for n in range(2)]
    for n, path in enumerate(keys):
        path.write_text(bytes([n + 1]).hex() * 32)
        path.chmod(0o600)
    async with relay(tmp_path / "one", Directory(), domains=(), inbound=InboundSettings(key_file=keys[0])) as near:
        port = int(near.app.address.rpartition(":")[2])
        body = envelope("u-1")
        headers = sign_post(near.app.identity, f"localhost:{port}", HERE, body, time.time())
        assert await pair.post(body, headers) == (202, "")
    inbound = InboundSettings(key_file=keys[1])
    async with relay(tmp_path / "two", Directory(), domains=(), listen_port=port, inbound=inbound) as near:
        body = envelope("u-2")
        headers = sign_post(near.app.identity, f"localhost:{port}", HERE, body, time.time())
        assert await pair.post(body, headers) == (202, "")
    assert len(await pair.far.waiting("9")) == 2


async def test_what_a_relay_publishes(pair: Pair) -> None:
    """Its key, its name, and what it takes; a relay without --domain goes by the name of this machine."""
    async with aiohttp.ClientSession() as session, session.get(f"{pair.near.http}/.well-known/rmb") as answer:
        card = await answer.json()
    assert card["relay_key"] == pair.near.app.identity.public_key.hex()
    assert card["federation"]["name"] == pair.name
    assert card["federation"]["unsigned"] == "refused"


async def test_open_and_listed(tmp_path: Path) -> None:
    """Relays that cannot sign: listed by address, or all of them; a bad signature is bad all the same."""
    listed = InboundSettings(listed=(Listed("old.test", (ip_network("127.0.0.0/8"),)),))
    elsewhere = InboundSettings(listed=(Listed("old.test", (ip_network("192.0.2.0/24"),)),))
    by_name = InboundSettings(listed=(Listed("localhost"),))
    cases = [(listed, 202, "listed"), (elsewhere, 401, "listed"), (by_name, 202, "listed")]
    cases.append((InboundSettings(open_to_all=True), 202, "accepted"))
    async with valkey(tmp_path) as (server, store):
        for number, (inbound, status, told) in enumerate(cases):
            async with bare_relay(server.url, inbound) as http, aiohttp.ClientSession() as session:
                async with session.post(http, data=envelope(f"u-{number}")) as answer:
                    assert answer.status == status, (number, await answer.text())
                async with session.post(http, data=envelope("bad"), headers={"Authorization": "RMB-Relay x"}) as answer:
                    assert answer.status == 401
                async with session.get(f"{http}/.well-known/rmb") as answer:
                    assert (await answer.json())["federation"]["unsigned"] == told
        assert await store.xlen("stream:9") == 3


async def test_too_many_posts(tmp_path: Path, shared_pair: Pair) -> None:
    """At the limit all are taken, one over is told when to come back: 429 for who signs, 503 for who cannot."""
    name = shared_pair.name
    identity = shared_pair.near.app.identity
    settings = InboundSettings(open_to_all=True, posts_per_minute=3)
    with LogLines("rmb.relay.federation") as lines:
        async with relay(tmp_path, Directory(9), domains=(HERE,), inbound=settings) as far:
            far.directory.add(9, (HERE,))

            async def post(uid: str, signed: bool) -> tuple[int, str, str | None]:
                body = envelope(uid)
                headers = dict(sign_post(identity, name, HERE, body, time.time())) if signed else {}
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(far.http, data=body, headers=headers) as answer,
                ):
                    return answer.status, await answer.text(), answer.headers.get("Retry-After")

            bad = {"Authorization": sign_post(identity, name, HERE, b"x", time.time())["Authorization"]}
            async with aiohttp.ClientSession() as session:
                for _ in range(5):  # whoever only claims to be a relay spends nothing of its budget
                    async with session.post(far.http, data=envelope(), headers=bad) as answer:
                        assert answer.status == 401
            for signed, status, who in ((True, 429, name), (False, 503, "127.0.0.1")):
                assert [(await post(f"{signed}-{n}", signed))[0] for n in range(3)] == [202] * 3
                over, text, after = await post(f"{signed}-over", signed)
                assert over == status
                assert after is not None
                assert 1 <= int(after) <= 20
                assert text == f"more than 3 posts per minute from {who}: try again in {after} s"
    told = [line for line in lines.named("a relay is refused") if line["address"] == "127.0.0.1"]
    assert len(told) == 1


@asynccontextmanager
async def bare_relay(redis_url: str, inbound: InboundSettings) -> AsyncIterator[str]:
    """A relay on a store that is shared: its HTTP side."""
    directory = Directory()
    directory.add(9, (HERE,))
    config = RelayConfig(
        domains=(HERE,),
        redis_url=redis_url,
        listen_host="127.0.0.1",
        listen_port=0,
        inbound=inbound,
        federation=FederationSettings(enabled=False),
    )
    async with RelayApp(config, lookup=directory) as app:
        yield app.url.replace("ws://", "http://")
