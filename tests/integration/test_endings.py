"""Real processes: every sender hears how it ended, although gateways are killed around the deadline."""

import asyncio
import base64
import random
import re
from collections import Counter
from typing import Any

import pytest

from rmb_peer.local import keys
from tests.support.gateways import request_json
from tests.support.programs import GatewayProgram, Network, Site, new_secret
from tests.support.shared_network import shared_network, tidy_network

ED25519 = ("--key-type", "ed25519")
PATIENCE_S = 60.0
KILLS = 5
TWIN = re.compile("twin (?:id ')?([0-9]+)")


pytestmark = pytest.mark.asyncio(loop_scope="module")


shared = shared_network(ED25519, ED25519)
net = tidy_network()


async def all_endings(place: Site, count: int) -> list[dict[str, Any]]:
    """`count` entries of the list, and then nothing is left that could still end."""
    answers = await place.pop_all(count, patience_s=PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while await place.redis.zcard(keys.DEADLINES) or await place.redis.xlen(keys.OUTBOX):
            await asyncio.sleep(0.02)  # polls a real process
    assert await place.redis.llen("my-ret") == 0, "somebody was told twice"
    return answers


async def test_killed_around_the_deadline_each_destination_ends_once(net: Network) -> None:
    """SIGKILL again and again while deadlines pass and answers come: one ending for each destination, by either."""
    chance = random.Random(7)
    a, b = net.sites
    b.serve("test.some", lambda payload: payload)
    count = 200
    requests = [
        request_json(
            b.twin, a.twin, 4711, ref=str(n), cmd=chance.choice(["test.some", "test.none"]), now=0,
            exp=chance.randint(1, 8), dat=base64.b64encode(b"%d" % n).decode(),
        )
        for n in range(count)
    ]  # fmt: skip
    await a.redis.lpush("msgbus.system.local", *requests)
    for kill in range(KILLS):
        async with asyncio.timeout(PATIENCE_S):  # let something happen between two kills
            told = await a.redis.llen("my-ret")
            while await a.redis.llen("my-ret") == told and told < 3 * count:
                await asyncio.sleep(chance.random() * 0.05)  # the instant of the kill is what is tried
        await a.gateway.kill()
        await (super(GatewayProgram, a.gateway).start() if kill % 2 else a.gateway.start())
    named, of_each = Counter[tuple[str, str]](), Counter[str]()
    for answer in await all_endings(a, 3 * count):
        of_each[answer["ref"]] += 1
        text = "" if answer["err"] is None else answer["err"]["message"]
        twin = answer["src"] or next(iter(TWIN.findall(text)), None)
        if twin is not None:  # "expired before sending" names none: other programs know that text (spec rmb 5.4)
            named[answer["ref"], twin] += 1
    assert of_each == {str(n): 3 for n in range(count)}
    assert set(named.values()) == {1}


async def test_a_deadline_that_passed_while_no_gateway_ran(net: Network) -> None:
    """It is told at the next start, and nothing is left of it."""
    a, b = net.sites
    await a.push(b.twin)
    await b.pop("msgbus.test.echo")
    await a.gateway.kill()
    (uid,) = await a.redis.zrange(keys.DEADLINES, 0, -1)
    await a.redis.zadd(keys.DEADLINES, {uid: 1})  # as if it had been long ago
    assert await a.redis.llen("my-ret") == 0
    await a.gateway.start()
    assert (await a.pop())["err"] == {"code": 504, "message": f"no answer from twin {b.twin} within 60 s"}
    assert not await a.redis.keys("rmb:backlog:*")


async def test_a_second_gateway_on_one_redis_is_refused(net: Network) -> None:
    """It ends with code 1 and says why; the first one goes on; after a kill a successor starts at once."""
    a, _ = net.sites
    second = GatewayProgram([net.relay.url], a.store.url, new_secret())
    await super(GatewayProgram, second).start()
    assert await second.ended() == 1
    assert "another gateway uses this Redis database" in str(second.events[-1])
    await a.push(a.twin, cmd="rmb.version")
    assert (await a.pop())["err"] is None
    await a.gateway.kill()
    await second.start()
    await second.connected()
    assert await second.stop() == 0


async def test_a_gateway_that_finds_itself_second_ends(net: Network) -> None:
    """Its connections were cut, and another one came in between: it gives way, and says so."""
    a, _ = net.sites
    name = next(client["name"] for client in await a.redis.client_list() if client["name"].startswith("rmb-gateway-"))
    rival = type(a.redis).from_url(a.store.url, client_name=keys.GATEWAY_CLIENT_PREFIX + "rival")
    try:
        await rival.ping()
        for client in await a.redis.client_list():
            if client["name"] == name:
                await a.redis.client_kill_filter(_id=client["id"])
        assert await a.gateway.ended() == 1
        assert "another gateway uses this Redis database" in str(a.gateway.events[-1])
    finally:
        await rival.aclose()


async def test_a_caller_that_has_gone_leaves_no_list(net: Network) -> None:
    """The list of a program that gave up holds one error, and goes by itself."""
    a, _ = net.sites
    await a.push(a.twin, ret="gone", exp=1, cmd="test.none")
    async with asyncio.timeout(PATIENCE_S):
        while not await a.redis.llen("gone"):
            await asyncio.sleep(0.02)  # polls a real process
    assert 0 < await a.redis.ttl("gone") <= keys.UNREAD_ERROR_S
