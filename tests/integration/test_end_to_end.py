"""Real processes: relay with its registry, gateways, Valkeys; programs that only push and pop.

One network serves all tests of this file. What a test kills it starts again.
"""

import asyncio
import base64
import os
from pathlib import Path

import pytest

from tests.support.gateways import request_json, response_json
from tests.support.programs import Network, payload, site
from tests.support.shared_network import shared_network, tidy_network

pytestmark = pytest.mark.asyncio(loop_scope="module")

SR25519: tuple[str, ...] = ()
ED25519 = ("--key-type", "ed25519")

WAYS = pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 0)], ids=["rmb.2 to rmb.1", "rmb.1 to rmb.2"])
"""Sites by number: both key types and both protocols of the link, each on either side."""


shared = shared_network(SR25519, ED25519, ED25519, protocols=("rmb.2", "rmb.1", "rmb.2"))
net = tidy_network()


@WAYS
async def test_a_message_crosses_and_its_answer_comes_back(net: Network, one: int, other: int) -> None:
    """Both key types, each as requester and as responder, between the protocols; sealed both ways."""
    a, b = net.sites[one], net.sites[other]
    await a.push(b.twin, dat=base64.b64encode(b"ping").decode())
    request = await b.pop("msgbus.test.echo")
    assert (request["src"], payload(request)) == (str(a.twin), b"ping")
    await b.respond(request, b"pong")
    response = await a.pop()
    assert (response["ref"], response["src"], response["err"]) == ("my-ref", str(b.twin), None)
    assert payload(response) == b"pong"
    await a.push(b.twin, cmd="rmb.version")
    assert payload(await a.pop()) == b'"0.1.0"'
    await a.push(4711)
    assert (await a.pop())["err"] == {"code": 103, "message": "unknown twin id '4711'"}


async def test_two_clients_two_services_and_several_destinations(net: Network) -> None:
    """Everything at once on three gateways: each client gets exactly the answers to its own requests."""
    for place in net.sites:
        twin = str(place.twin).encode()
        place.serve("test.upper", bytes.upper)
        place.serve("test.who", lambda _, twin=twin: twin)  # type: ignore[misc]
    everybody = [place.twin for place in net.sites]

    async def client(number: int) -> None:
        place = net.sites[number % 2]
        ret = f"client-{number}"
        for index in range(50):
            text = base64.b64encode(b"%d-%d" % (number, index)).decode()
            await place.push(everybody[2], ret=ret, ref=f"u{index}", cmd="test.upper", dat=text)
            await place.push(*everybody, ret=ret, ref=f"w{index}", cmd="test.who")
        answers = [await place.pop(ret) for _ in range(50 * 4)]
        assert all(answer["err"] is None for answer in answers)
        uppers = {a["ref"]: payload(a) for a in answers if a["ref"].startswith("u")}
        assert uppers == {f"u{index}": b"%d-%d" % (number, index) for index in range(50)}
        whos = {(a["ref"], a["src"], payload(a)) for a in answers if a["ref"].startswith("w")}
        assert whos == {(f"w{index}", str(t), str(t).encode()) for index in range(50) for t in everybody}

    await asyncio.gather(*(client(number) for number in range(4)))


@WAYS
async def test_an_offline_receiver_gets_its_messages_when_it_comes_back(net: Network, one: int, other: int) -> None:
    """The relay keeps messages for a gateway that is away, oldest first."""
    a, b = net.sites[one], net.sites[other]
    assert await b.gateway.stop() == 0
    for number in range(100):
        await a.push(b.twin, ref=str(number), cmd="test.later", dat=base64.b64encode(b"%d" % number).decode())
    await a.push(b.twin, tag="fail-fast")
    refused = await a.pop()
    assert (refused["src"], refused["err"]) == ("0", {"code": 0, "message": "destination offline"})
    await b.gateway.start()
    assert [payload(await b.pop("msgbus.test.later")) for _ in range(100)] == [b"%d" % n for n in range(100)]


@pytest.mark.parametrize(("how", "one", "other"), [("stop", 0, 2), ("kill", 0, 1), ("kill", 1, 0)])
async def test_a_relay_restart_in_the_middle_loses_nothing(net: Network, how: str, one: int, other: int) -> None:
    """Requests go on being pushed while the relay is stopped or killed and started again; all are answered."""
    a, b = net.sites[one], net.sites[other]
    b.serve("test.echo")
    count = 300

    async def push_all() -> None:
        for number in range(count):
            await a.push(b.twin, ref=str(number))
            if number % 20 == 0:
                await asyncio.sleep(0.01)  # spreads the requests over the restart

    pushing = asyncio.create_task(push_all())
    while await a.redis.llen("my-ret") < 50:
        await asyncio.sleep(0.01)  # polls real processes
    await (net.relay.stop() if how == "stop" else net.relay.kill())
    await net.relay.start()
    await pushing
    answers = await a.pop_all(count)
    assert {answer["ref"] for answer in answers} == {str(number) for number in range(count)}
    assert all(answer["err"] is None for answer in answers)


@WAYS
async def test_a_killed_gateway_finishes_what_it_had_taken(net: Network, one: int, other: int) -> None:
    """SIGKILL in the middle of sending: after a restart every request is answered, each service call happens once."""
    a, b = net.sites[one], net.sites[other]
    count = 800
    await a.redis.lpush("msgbus.system.local", *(request_json(b.twin, ref=str(n), exp=300) for n in range(count)))
    while await b.redis.llen("msgbus.test.echo") < 50:
        await asyncio.sleep(0.001)  # polls real processes
    await a.gateway.kill()
    await a.gateway.start()
    requests = await b.pop_all(count, "msgbus.test.echo")
    assert len({request["ref"] for request in requests}) == count
    await b.redis.lpush("msgbus.system.reply", *map(response_json, requests))
    answers = await a.pop_all(count)
    assert {answer["ref"] for answer in answers} == {str(number) for number in range(count)}
    assert await b.redis.llen("msgbus.test.echo") == 0
    while await a.redis.xlen("rmb:outbox"):
        await asyncio.sleep(0.01)  # polls a real process


@WAYS
async def test_a_killed_receiver_loses_nothing_and_doubles_nothing(net: Network, one: int, other: int) -> None:
    """SIGKILL of the receiving gateway, twice while messages pour in: each reaches its service exactly once."""
    a, b = net.sites[one], net.sites[other]
    count = 1000
    await a.redis.lpush("msgbus.system.local", *(request_json(b.twin, ref=str(n), exp=300) for n in range(count)))
    for kill in range(1, 3):
        while await b.redis.llen("msgbus.test.echo") < kill * 150:
            await asyncio.sleep(0.001)  # polls real processes
        await b.gateway.kill()
        await b.gateway.start()
    requests = await b.pop_all(count, "msgbus.test.echo")
    assert len({request["ref"] for request in requests}) == count
    assert await b.redis.llen("msgbus.test.echo") == 0


async def test_large_payloads_cross_and_larger_ones_get_a_clear_error(net: Network) -> None:
    """Every byte arrives, both ways; beyond the limit code 413 with both sizes; then the next request is served."""
    a, b = net.sites[:2]
    b.serve("test.echo")
    for size in (64 * 1024, 4 * 1024 * 1024):
        data = os.urandom(size)
        await a.push(b.twin, dat=base64.b64encode(data).decode())
        assert payload(await a.pop()) == data
    await a.push(b.twin, dat=base64.b64encode(bytes(16 * 1024 * 1024 + 1)).decode())
    error = (await a.pop())["err"]
    assert error["code"] == 413
    assert "16777217 bytes" in error["message"]
    assert "16777216 bytes" in error["message"]
    await a.push(b.twin)
    assert (await a.pop())["err"] is None


async def test_thousands_of_requests_and_none_missing(net: Network) -> None:
    """Every reference comes back exactly once, with the right payload and without an error."""
    a, b = net.sites[0], net.sites[2]
    b.serve("test.echo")
    count, batch = 4_000, 500
    for start in range(0, count, batch):
        numbers = range(start, start + batch)
        await a.redis.lpush(
            "msgbus.system.local",
            *(request_json(b.twin, ref=str(n), exp=600, dat=base64.b64encode(b"%d" % n).decode()) for n in numbers),
        )
    answers = await a.pop_all(count)
    assert {str(answer["err"]) for answer in answers} == {"None"}
    assert {answer["ref"]: payload(answer) for answer in answers} == {str(n): b"%d" % n for n in range(count)}
    assert await a.redis.llen("my-ret") == 0


async def test_another_gateway_joins_later(net: Network, tmp_path: Path) -> None:
    """A twin that registers after others were running is found by them."""
    async with site(tmp_path / "late", [net.relay.url]) as late:
        late.serve("test.echo")
        await net.sites[0].push(late.twin)
        assert (await net.sites[0].pop())["err"] is None
