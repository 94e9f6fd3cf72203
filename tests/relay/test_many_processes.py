"""Several processes on one store behave as one relay: delivery, order, replacement, and what happens when one dies."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from relay.app import RelayApp
from relay.federation.inbound_settings import InboundSettings
from rmb_peer.protocol.link.endings import Ending
from tests.support.link_client import link_client
from tests.support.many_relays import QUICK, ManyRelays, many_relays
from tests.support.relay import PATIENCE_S, next_is_marker, receive, receive_error, request, response, send, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_relays(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ManyRelays]:
    inbound = InboundSettings(open_to_all=True)
    async with many_relays(tmp_path_factory.mktemp("many"), 3, 5, 6, 7, 9, inbound=inbound) as relays:
        yield relays


@pytest_asyncio.fixture(loop_scope="module")
async def relays(shared_relays: ManyRelays) -> ManyRelays:
    """Three relays that know each other, with empty mailboxes; nothing is found by checking, all must be told."""
    for app in shared_relays.apps:
        await until(partial(all_gone, app))
        await app.mailboxes.idle()
    mailboxes = await shared_relays.store.keys("stream:*")
    if mailboxes:
        await shared_relays.store.delete(*mailboxes)
    shared_relays.directory.reset(5, 6, 7, 9)
    return shared_relays


def all_gone(app: RelayApp) -> bool:
    return app.metrics.signins == app.metrics.evictions.total()


def deafen(app: RelayApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other processes tell this one is lost."""
    monkeypatch.setattr(app.presence, "_took_news", lambda data: None)


async def closed(client: ClientConnection) -> int | None:
    """The code with which the relay ended it."""
    async with asyncio.timeout(PATIENCE_S):
        await client.wait_closed()
    return client.close_code


@pytest.mark.parametrize("protocol", ["rmb.1", "rmb.2"])
async def test_a_question_and_its_answer(relays: ManyRelays, protocol: str) -> None:
    """Client and service are connected to two processes; both directions work, live and without checking."""
    if protocol == "rmb.1":
        async with relays.client(0, 7) as asker, relays.client(1, 9) as service:
            for n in range(5):
                await send(asker, request(7, 9, f"q{n}"))
                assert (await receive(service)).uid == f"q{n}"
                await send(service, response(9, 7, f"q{n}"))
                assert (await receive(asker)).uid == f"q{n}"
            return
    async with link_client(relays.at(0), 7) as link_asker, link_client(relays.at(1), 9) as link_service:
        for n in range(5):
            await link_asker.send(request(7, 9, f"q{n}"))
            assert await link_service.receive_uids(1) == [f"q{n}"]
            assert (await link_asker.outcome(f"q{n}")).ending is Ending.SAFE
            await link_service.send(response(9, 7, f"q{n}"))
            assert await link_asker.receive_uids(1) == [f"q{n}"]


async def test_the_newest_wins_wherever_it_is(relays: ManyRelays) -> None:
    """Twenty connections of one identity in turn on different processes: each ends the one before with 4001."""
    async with AsyncExitStack() as stack, relays.client(2, 7) as sender:
        older = None
        for n in range(20):
            newest = await stack.enter_async_context(relays.client(n % 2, 9))
            if older is not None:
                assert await closed(older) == 4001
            await send(sender, request(7, 9, f"m{n}"))
            while (uid := (await receive(newest)).uid) != f"m{n}":
                assert uid == f"m{n - 1}"  # the older one had read it and not confirmed it
            older = newest


async def test_whoever_was_replaced_takes_nothing_away(relays: ManyRelays) -> None:
    """The older connection ends late, and the newer one is found all the same, until it leaves, too."""
    async with relays.client(2, 7) as sender:
        async with relays.client(0, 9) as older, relays.client(1, 9):
            assert await closed(older) == 4001
            await until(lambda: not len(relays.apps[0].presence._sessions))
            await send(sender, request(7, 9, "here", tags="fail-fast"))
            await send(sender, request(7, 0, "marker"))
            assert (await receive(sender)).uid == "marker"
        await until(lambda: entries_of(relays, 9, 0))

        async def is_offline() -> bool:
            await send(sender, request(7, 9, "gone", tags="fail-fast"))
            await send(sender, request(7, 0, "marker"))
            return await receive_error(sender) == "destination offline"

        await until(is_offline)  # what was asked a moment ago is believed for a quarter of a second


async def entries_of(relays: ManyRelays, twin: int, count: int) -> bool:
    return bool(await relays.store.hlen(f"relay.presence:{{{twin}}}") == count)


async def test_a_twin_that_is_not_ours_is_reached_where_it_is(relays: ManyRelays) -> None:
    """A twin may connect to any relay, even one that its record does not name (spec rmb 6.4): any process of it."""
    relays.directory.add(9, ("elsewhere.test",))
    async with relays.client(0, 7) as asker, relays.client(1, 9) as service:
        for n in range(3):
            await send(asker, request(7, 9, f"m{n}"))
            assert (await receive(service)).uid == f"m{n}"


async def test_another_relay_posts_to_the_wrong_process(relays: ManyRelays) -> None:
    """`fail-fast` from outside: 202 when another process has the destination, 404 when none has."""

    async def post(uid: str) -> int:
        url = relays.apps[0].url.replace("ws://", "http://")
        data = request(7, 9, uid, tags="fail-fast").SerializeToString()
        async with aiohttp.ClientSession() as session, session.post(url, data=data) as answer:
            return answer.status

    async def is_missed() -> bool:
        return await post("nobody") == 404

    await until(is_missed)
    async with relays.client(1, 9) as service:
        await until(lambda: entries_of(relays, 9, 1))

        async def is_found() -> bool:
            return await post("here") == 202

        await until(is_found)  # what was asked a moment ago is believed for a quarter of a second
        while (uid := (await receive(service)).uid) != "here":
            assert uid == "nobody"  # accepted while an older session of this twin was still believed to be there


@pytest.mark.parametrize("seed", range(3))
async def test_three_processes_append_to_one_mailbox(relays: ManyRelays, seed: int) -> None:
    """The session is on one of them: it gets everything in the mailbox's order, once, without checking."""
    chance = random.Random(seed)
    senders = {5: 0, 6: 1, 7: 2}
    uids = {twin: [f"{twin}-{n}" for n in range(60)] for twin in senders}
    async with AsyncExitStack() as stack:
        clients = {
            twin: await stack.enter_async_context(relays.client(number, twin)) for twin, number in senders.items()
        }
        receiver = await stack.enter_async_context(link_client(relays.at(1), 9, auto=False))

        async def send_all(twin: int) -> None:
            for uid in uids[twin]:
                await send(clients[twin], request(twin, 9, uid))
                for _ in range(chance.choice((0, 0, 1, 5, 50))):
                    await asyncio.sleep(0)

        await asyncio.gather(*map(send_all, senders))
        came = await receiver.receive_uids(180)
        assert came == await relays.waiting("9")
        for twin in senders:
            assert [uid for uid in came if uid in uids[twin]] == uids[twin]
        assert receiver.waiting == 0


async def test_a_mix_of_memory_and_mailbox(relays: ManyRelays) -> None:
    """One sender's envelopes go past the mailbox, others come from afar: each order is kept, nothing comes twice."""
    async with (
        link_client(relays.at(0), 7) as near,
        relays.client(1, 5) as far,
        link_client(relays.at(0), 9) as receiver,
    ):
        await receiver.warm()
        uids = {7: [f"7-{n}" for n in range(100)], 5: [f"5-{n}" for n in range(100)]}

        async def send_near() -> None:
            for uid in uids[7]:
                await near.send(request(7, 9, uid))
                await asyncio.sleep(0)

        async def send_far() -> None:
            for uid in uids[5]:
                await send(far, request(5, 9, uid))
                await asyncio.sleep(0)

        await asyncio.gather(send_near(), send_far())
        came = await receiver.receive_uids(200)
        for twin, sent in uids.items():
            assert [uid for uid in came if uid.startswith(str(twin))] == sent
        assert receiver.waiting == 0


async def test_a_sender_that_moves_keeps_its_order(relays: ManyRelays, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sent by another process is in the mailbox, and nobody has said so; its next envelope waits behind."""
    deafen(relays.apps[0], monkeypatch)
    async with link_client(relays.at(0), 9) as receiver:
        await receiver.warm()
        async with link_client(relays.at(1), 7) as sender:
            await sender.send(request(7, 9, "first"))
            assert (await sender.outcome("first")).ending is Ending.SAFE
        async with link_client(relays.at(0), 7) as sender:
            await sender.send(request(7, 9, "second"))
            assert await receiver.receive_uids(2) == ["first", "second"]
            await sender.send(request(7, 9, "third"))
            assert (await sender.outcome("third")).ending in (Ending.SAFE, Ending.AT_PEER)
        assert receiver.got == ["first", "second", "third"]


async def test_an_append_of_ours_reveals_what_nobody_told(relays: ManyRelays, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to our own append says that somebody appended before it: both come, in order."""
    deafen(relays.apps[0], monkeypatch)
    async with relays.client(0, 9) as receiver, relays.client(1, 5) as far, relays.client(0, 7) as near:
        await next_is_marker(receiver, "9")
        await send(far, request(5, 9, "far"))
        await until(lambda: has(relays, "9", 1))
        await send(near, request(7, 9, "near"))
        assert [(await receive(receiver)).uid for _ in range(2)] == ["far", "near"]


async def has(relays: ManyRelays, owner: str, count: int) -> bool:
    return len(await relays.waiting(owner)) == count


async def test_what_was_said_while_nobody_listened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost news are found by checking, every moment."""
    async with many_relays(tmp_path, 2, 7, 9, timing=QUICK) as relays:
        deafen(relays.apps[0], monkeypatch)
        async with relays.client(0, 9) as receiver, relays.client(1, 7) as sender:
            await next_is_marker(receiver, "9")
            await send(sender, request(7, 9, "m1"))
            assert (await receive(receiver)).uid == "m1"
            async with relays.client(1, 9):
                assert await closed(receiver) == 4001


async def test_a_process_that_was_away(tmp_path: Path) -> None:
    """It was cut off and declared dead: its sessions move; back, it drops those that moved and serves the others."""
    async with (
        many_relays(tmp_path, 2, 5, 7, 9, timing=QUICK) as relays,
        relays.client(0, 9) as moved,
        relays.client(0, 5) as stayed,
        relays.client(1, 7) as sender,
    ):
        await next_is_marker(moved, "9")
        await next_is_marker(stayed, "5")

        async def all_confirmed() -> bool:
            return not await relays.waiting("9") and not await relays.waiting("5")

        await until(all_confirmed)
        relays.doors[0].cut()
        await until(lambda: not relays.apps[1].presence.others)
        await send(sender, request(7, 9, "not there", tags="fail-fast"))
        assert await receive_error(sender) == "destination offline"
        async with relays.client(1, 9) as newer:
            await send(sender, request(7, 9, "m1"))
            assert (await receive(newer)).uid == "m1"
            await send(sender, request(7, 5, "m2"))
            relays.doors[0].down = False
            assert await closed(moved) == 4001
            assert (await receive(stayed)).uid == "m2"
            await send(sender, request(7, 9, "m3"))
            assert (await receive(newer)).uid == "m3"


async def test_a_process_that_died(tmp_path: Path) -> None:
    """Nobody cleaned up behind it: what waited for its sessions is theirs elsewhere, at once."""
    async with many_relays(tmp_path, 2, 7, 9) as relays, relays.client(1, 7) as sender:
        async with relays.client(0, 9) as receiver:
            await until(lambda: entries_of(relays, 9, 1))
            relays.doors[0].cut()  # it says nothing more to the store, and its entries stay
            receiver.transport.abort()
        await send(sender, request(7, 9, "m1"))
        await until(lambda: has(relays, "9", 1))
        async with relays.client(1, 9) as receiver:
            assert (await receive(receiver)).uid == "m1"
            await send(sender, request(7, 9, "m2"))
            assert (await receive(receiver)).uid == "m2"


async def test_entries_of_the_dead_do_not_pile_up(tmp_path: Path) -> None:
    """Many sessions of one twin that a dead process left behind are taken out when new ones come."""
    async with many_relays(tmp_path, 1, 9) as relays:
        await relays.store.hset("relay.presence:{9}", mapping={f"=old{n}": f"dead{n}:{n}:0" for n in range(40)})
        async with relays.client(0, 9, "new") as client:
            await next_is_marker(client, "9:new")
            assert await entries_of(relays, 9, 1)
        await until(lambda: entries_of(relays, 9, 0))


async def test_the_entry_comes_back_after_the_store_forgot_it(tmp_path: Path) -> None:
    """A store that lost its memory is told again who is connected; what was appended in between arrives."""
    async with (
        many_relays(tmp_path, 2, 7, 9, timing=QUICK) as relays,
        relays.client(0, 9) as receiver,
        relays.client(1, 7) as sender,
    ):
        await next_is_marker(receiver, "9")
        await relays.store.flushall()
        await send(sender, request(7, 9, "m1"))
        assert (await receive(receiver)).uid == "m1"
        await until(lambda: entries_of(relays, 9, 1))


async def test_a_connection_is_closed_in_order(tmp_path: Path) -> None:
    """A relay that stops takes its sessions and itself out; another one is alone at once."""
    async with many_relays(tmp_path, 1, 9) as relays, RelayAppBeside(relays) as other:
        await relays.know_each_other()
        with pytest.raises(ConnectionClosed):
            async with other.at(1).client(9) as client:
                await next_is_marker(client, "9")
                await other.apps[1].__aexit__(None, None, None)
                await client.recv()
        assert await entries_of(relays, 9, 0)
        assert await relays.store.zcard("relay.processes") == 1


class RelayAppBeside:
    """One more relay, for as long as this lasts."""

    def __init__(self, relays: ManyRelays) -> None:
        self._relays = relays

    async def __aenter__(self) -> ManyRelays:
        await self._relays.add()
        return self._relays

    async def __aexit__(self, *_: object) -> None:
        self._relays.apps.pop()
