"""Two of our relays and the link between them: what gateways see of it, and that nothing is lost when it breaks."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from relay.federation.link_opening import Links
from relay.federation.link_signature import sign_link
from relay.federation.link_speaker import LinkSpeaker, Way
from relay.federation.places import Places
from relay.federation.resolver import CheckedResolver
from relay.federation.speaker import Accepted, Outcome, Queued, TryAgain
from relay.federation.well_known import WellKnown
from relay.identity import RelayIdentity
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.protocol.envelope import parse_envelope
from tests.support.calling_relay import CallingRelay, calling_relay
from tests.support.far_relay import far_relay
from tests.support.federation import Node, nodes
from tests.support.relay import metric, receive, request, response, send, until
from tests.support.relay_process import RelayProcess


def batch(size: int, twin: int = 9) -> list[Queued]:
    return [Queued(f"m{n}", request(7, twin, f"m{n}").SerializeToString(), int(time.time()) + 300) for n in range(size)]


def speaker(calling: CallingRelay, node: Node) -> LinkSpeaker:
    """One that speaks to a real relay."""

    async def way() -> Way:
        return Way(f"ws://{node.name}/", ["127.0.0.1"])

    return LinkSpeaker(node.name, way, lambda: calling.proof(to=node.name))


async def test_a_conversation(tmp_path: Path) -> None:
    """A request and its answer go over a link each, and not by posts; both relays say that they take links."""
    async with nodes(tmp_path, 2) as [a, b], aiohttp.ClientSession() as http:
        a.directory.add(7, relays=(a.name,))
        a.directory.add(9, relays=(b.name,))
        async with http.get(f"http://127.0.0.1:{b.port}/.well-known/rmb") as answer:
            assert (await answer.json())["federation"]["link"] is True
        async with a.client(7) as asker, b.client(9) as answerer:
            for number in range(50):
                await send(asker, request(7, 9, f"q{number}"))
            for number in range(50):
                asked = await receive(answerer)
                assert asked.uid == f"q{number}"
                await send(answerer, response(9, 7, asked.uid))
            assert [(await receive(asker)).uid for _ in range(50)] == [f"q{number}" for number in range(50)]
            assert (a.metric("relay_links_of_relays"), b.metric("relay_links_of_relays")) == (1, 1)
            assert b.metric('relay_link_endings_total{ending="safe"}') == 50


async def test_a_relay_that_goes_and_comes(tmp_path: Path) -> None:
    """What waits meanwhile arrives in order over a new link."""
    async with nodes(tmp_path, 2) as [a, b]:
        a.directory.add(7, relays=(a.name,))
        a.directory.add(9, relays=(b.name,))
        async with a.client(7) as asker:
            await send(asker, request(7, 9, "0"))
            await until(lambda: b.metric("relay_links_of_relays") == 1)
            await b.stop()
            for number in range(1, 30):
                await send(asker, request(7, 9, str(number)))
            await until(lambda: a.fails(b.name))
            await b.start()
            async with b.client(9) as answerer:
                uids = []
                while "29" not in uids:
                    uids.append((await receive(answerer)).uid)
            # The first one may have been on its way when the relay stopped; gateways recognise the repeat.
            assert list(dict.fromkeys(uids)) == [str(number) for number in range(30)]
            assert b.metric("relay_links_of_relays") == 1


async def test_a_speaker_and_a_real_relay(tmp_path: Path) -> None:
    """Driven directly: everything is accepted and in the mailbox, in order; a stop is told as trouble of the relay."""
    async with nodes(tmp_path, 1) as [node], calling_relay() as calling:
        node.directory.add(9, relays=(node.name,))
        link = speaker(calling, node)
        run = batch(1000)
        assert await link.deliver(run) == [Accepted()] * 1000
        held = await node.store.xrange("stream:9")
        assert [fields[b"_"] for _, fields in held] == [queued.data for queued in run]
        await node.stop()
        await until(lambda: not link.connected)
        assert {type(outcome) for outcome in await link.deliver(batch(3))} == {TryAgain}
        await node.start()
        assert await link.deliver(batch(3)) == [Accepted()] * 3
        await link.close()


async def test_the_far_relay_is_killed_in_the_middle(tmp_path: Path) -> None:
    """What was accepted is in its store; the rest goes to the one that takes its place: nothing is lost, and the order
    is kept."""
    async with calling_relay() as calling:
        left, killed = batch(4000), False
        while left:
            # Its registry does not answer, so everything may belong there.
            far = await RelayProcess.start(tmp_path, "--registry", "http://127.0.0.1:1")
            async with AsyncExitStack() as ending:
                ending.push_async_callback(far.end)
                link = await ending.enter_async_context(speaking_to(far, calling))
                while left:
                    delivering = asyncio.create_task(link.deliver(left[:500]))
                    if not killed and len(left) <= 3000:
                        await until(partial(frames_in, far))
                        await far.stop(signal.SIGKILL)
                        killed = True
                    outcomes = await delivering
                    accepted = [isinstance(outcome, Accepted) for outcome in outcomes]
                    assert accepted == sorted(accepted, reverse=True)  # one destination: nothing overtakes
                    left = left[sum(accepted) :]
                    if not all(accepted):
                        assert {type(outcome) for outcome in outcomes} <= {Accepted, TryAgain}
                        break
                else:
                    await far.stop()
        async with store(tmp_path) as held:
            uids = [parse_envelope(fields[b"_"]).uid for _, fields in await held.xrange("stream:9")]
    assert killed
    assert list(dict.fromkeys(uids)) == [queued.id for queued in batch(4000)]


@asynccontextmanager
async def speaking_to(far: RelayProcess, calling: CallingRelay) -> AsyncIterator[LinkSpeaker]:
    name = far.address.replace("127.0.0.1", "localhost")

    async def way() -> Way:
        return Way(f"{far.url}/", ["127.0.0.1"])

    link = LinkSpeaker(name, way, lambda: calling.proof(to=name))
    try:
        yield link
    finally:
        await link.close()


async def frames_in(far: RelayProcess) -> bool:
    """Whether it has read more than what came before."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{far.address}/metrics") as answer:
        return metric(await answer.text(), 'relay_link_frames_total{direction="in"}') > 2


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[Any]:
    """What a relay left behind."""
    valkey = await EmbeddedValkey.start(folder)
    client: Any = Redis.from_url(valkey.url)
    try:
        yield client
    finally:
        await client.aclose()
        await valkey.stop()


@asynccontextmanager
async def without_upgrades(node: Node) -> AsyncIterator[str]:
    """A web server in front of a relay that passes no WebSocket on: the name under which it is reached."""
    async with aiohttp.ClientSession() as http:

        async def forward(asked: web.Request) -> web.Response:
            if "Upgrade" in asked.headers:
                return web.Response(status=403, text="no upgrades here")
            url = f"http://127.0.0.1:{node.port}{asked.path_qs}"
            kept = {name: asked.headers[name] for name in ("Authorization",) if name in asked.headers}
            async with http.request(asked.method, url, data=await asked.read(), headers=kept) as answer:
                return web.Response(status=answer.status, body=await answer.read())

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"localhost:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def test_a_web_server_that_passes_no_upgrade_on(tmp_path: Path) -> None:
    """The relay behind it offers a link, which fails; the same messages arrive by posts, in order."""
    async with nodes(tmp_path, 1) as [a]:
        a.directory.add(7, relays=(a.name,))
        async with nodes(tmp_path / "far", 1, a.directory) as [b], without_upgrades(b) as front:
            await b.stop()
            await b.start(domains=(front,))
            a.directory.add(9, relays=(front,))
            async with a.client(7) as asker, b.client(9) as answerer:
                for number in range(10):
                    await send(asker, request(7, 9, str(number)))
                assert [(await receive(answerer)).uid for _ in range(10)] == [str(n) for n in range(10)]
            assert b.metric("relay_links_of_relays") == 0
            assert b.app.metrics.link_frames_in == 0


async def test_what_a_relay_offers_is_asked() -> None:
    """A relay that publishes no link gets posts; one that cannot say what it offers, too."""
    places = Places(frozenset({"localhost:1"}))
    identity = RelayIdentity(bytes(32))
    resolver = CheckedResolver(places)
    asked: list[str] = []

    class Posts:
        async def deliver(self, run: Sequence[Queued]) -> Sequence[Outcome]:
            asked.append("post")
            return [Accepted()] * len(run)

        async def close(self) -> None:
            """Nothing is open."""

    async with calling_relay() as other, far_relay() as far, aiohttp.ClientSession() as http:
        links = Links(
            places,
            resolver,
            WellKnown(http, places),
            lambda name, nonce: sign_link(identity, "a.test", name, nonce, time.time()),
            time.monotonic,
        )
        one = links.prefer_link(other.name, Posts())
        assert await one.deliver(batch(1)) == [Accepted()]
        silent = links.prefer_link(far.url.removeprefix("ws://").rstrip("/"), Posts())
        assert await silent.deliver(batch(1)) == [Accepted()]
        assert asked == ["post", "post"]
        for made in (one, silent):
            await made.close()
    await resolver.close()
