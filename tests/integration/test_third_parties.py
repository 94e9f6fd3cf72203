"""Peers without a gateway, as the Go and TypeScript kits have, through the real relay, beside a real gateway (C 17)."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from rmb_peer.registry.opening import open_registry, registry_of_relay
from tests.support.direct_peer import DirectPeer, direct_peer
from tests.support.programs import Network, RelayProgram, network, payload

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def net(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    """A relay and one gateway; no test here ends either."""
    async with network(tmp_path_factory.mktemp("network"), ()) as made:
        yield made


@asynccontextmanager
async def peer_of(relay: RelayProgram, *, encrypted: bool, session: str | None = None) -> AsyncIterator[DirectPeer]:
    """A direct peer, registered with the registry that the relay hosts."""
    registry = open_registry(await registry_of_relay(relay.url))
    try:
        name = f"localhost:{relay.port}"
        async with direct_peer(registry, relay.url, relay_names=(name,), encrypted=encrypted, session=session) as peer:
            yield peer
    finally:
        await registry.close()


async def gateway_asks(net: Network, peer: DirectPeer) -> None:
    (site,) = net.sites
    await site.push(peer.twin.id, dat=base64.b64encode(b"ping").decode())
    request = await peer.receive()
    if peer.twin.public_key is None:
        assert request.plain == b"ping"
    else:
        assert request.WhichOneof("payload") == "cipher"
    await peer.send(peer.response(request, b'"pong"'))
    answer = await site.pop()
    assert (payload(answer), answer["err"]) == (b'"pong"', None)


async def gateway_answers(net: Network, peer: DirectPeer) -> None:
    (site,) = net.sites
    await peer.send(peer.request(site.twin, "test.echo", b"1"))
    request = await site.pop("msgbus.test.echo")
    session = "" if peer.session is None else f":{peer.session}"
    assert request["src"] == f"{peer.twin.id}{session}"
    await site.respond(request, b"2")
    response = await peer.receive()
    assert response.WhichOneof("message") == "response"
    assert response.WhichOneof("payload") == ("plain" if peer.twin.public_key is None else "cipher")


async def test_a_gateway_and_direct_peers(net: Network) -> None:
    """Both ask and both answer, plain and sealed, with and without a session id.

    A peer with a session id is asked by nobody through a gateway: the Redis API cannot name sessions (spec rmb 5.2).
    """
    for encrypted, session in ((False, None), (True, None), (True, "js-1"), (False, "")):
        async with peer_of(net.relay, encrypted=encrypted, session=session) as peer:
            if session is None:
                await gateway_asks(net, peer)
            await gateway_answers(net, peer)


async def test_two_plain_peers(net: Network) -> None:
    """The relay carries what neither side seals, byte for byte."""
    async with (
        peer_of(net.relay, encrypted=False) as a,
        peer_of(net.relay, encrypted=False, session="x") as b,
    ):
        request = a.draft(b.twin.id, "x", plain=b"1")
        request.request.command = "test.echo"
        await a.send(a.sign(request))
        received = await b.receive()
        assert received == request
        await b.send(b.response(received, b"2"))
        assert (await a.receive()).plain == b"2"


async def test_an_envelope_ping(net: Network) -> None:
    """What the TypeScript kit sends every 20 s comes back as a pong to the same session (C 7)."""
    async with peer_of(net.relay, encrypted=False, session="js") as peer:
        ping = peer.draft(0, plain=b"")
        ping.ping.SetInParent()
        await peer.send(ping)
        pong = await peer.receive()
        assert (pong.uid, pong.WhichOneof("message"), pong.plain) == (ping.uid, "pong", b"hello world")
        assert pong.destination == ping.source
