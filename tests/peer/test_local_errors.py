"""What a local program hears when its request cannot go out: exact JSON, never silence (C 15; spec rmb 5.4, 5.10)."""

import base64
import json
import time
from typing import Any

import pytest

from rmb_peer.local import keys
from rmb_peer.local.messages import local_error
from rmb_peer.local.queues import Delivery, Taken
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.workers.pool import Workers
from tests.support.gateways import Node, new_identity, request_json, running_node, two_nodes
from tests.support.scripted_relay import ScriptedRelay, scripted_relay
from tests.support.workers import running


def error(code: int, message: str, ref: str | None = "my-ref") -> dict[str, Any]:
    """The object of spec rmb 5.4."""
    return {
        "ver": 1,
        "ref": ref,
        "dat": "",
        "src": "",
        "shm": None,
        "now": 0,
        "err": {"code": code, "message": message},
    }


async def test_unknown_destination() -> None:
    """Code 103, compact JSON with keys in the order of the specification (C 15)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, _):
        a.request(4711)
        answer = await a.popped("my-ret")
        assert answer == error(103, "unknown twin id '4711'")
        assert list(answer) == ["ver", "ref", "dat", "src", "shm", "now", "err"]
        await a.until_idle()
        assert not a.memory.outbox


async def test_the_error_text_is_compact() -> None:
    """Byte for byte what the Rust gateway pushes (C 15)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(4711, b.twin.id, ref=None)
        await b.popped("msgbus.test.echo")
        await a.until_idle()
        assert a.memory.pop_oldest("my-ret") == (
            b'{"ver":1,"ref":null,"dat":"","src":"","shm":null,"now":0,'
            b'"err":{"code":103,"message":"unknown twin id \'4711\'"}}'
        )


class SilentRegistry(MemoryRegistry):
    """A registry that is away."""

    async def get(self, twin_id: int) -> Twin | None:
        raise RegistryUnavailable("connection refused")


async def test_registry_unavailable() -> None:
    """Code 500 `other: <detail>` at once (C 15)."""
    async with scripted_relay() as relay, running_node(SilentRegistry(), [relay.url]) as a:
        a.request(4711)
        assert await a.popped("my-ret") == error(500, "other: connection refused")


async def test_expired_while_relays_are_down() -> None:
    """Code 500 with the known text, for requests too, once the lifetime is over without a relay (C 15)."""
    registry = MemoryRegistry()
    async with running_node(registry, ["ws://localhost:9"], wait_connected=False) as a:
        a.request(a.twin.id, exp=1)
        assert await a.popped("my-ret") == error(500, "other: response has expired before sending!")
        await a.until_idle()
        assert not a.memory.outbox


SILENT_IN_THE_REFERENCE = {
    "not base64": ({"dat": "a b"}, 400, "malformed request: `dat` is not standard base64"),
    "exp 0": ({"exp": 0}, 102, "request has expired: `exp` is 0"),
    "past": ({"now": 1000, "exp": 5}, 102, "request has expired: `now` + `exp` has passed"),
    "no destination": ({"dst": []}, 400, "malformed request: `dst` must be a list of at least one twin id"),
    "destination is text": ({"dst": ["7"]}, 400, "malformed request: `dst` must be a list of twin ids"),
    "destination too large": ({"dst": [2**32]}, 400, "malformed request: `dst` must be a list of twin ids"),
    "float": ({"exp": 300.0}, 400, "malformed request: `exp` must be an integer"),
    "boolean": ({"exp": True}, 400, "malformed request: `exp` must be an integer"),
    "no command": ({"cmd": ...}, 400, "malformed request: `cmd` must be a text"),
    "no version": ({"ver": ...}, 400, "malformed request: `ver` must be an integer"),
    "empty command": ({"cmd": ""}, 403, "command refused: it is empty"),
    "own queue": ({"cmd": "system.local"}, 403, "command refused: 'system.local' names a queue"),
}


@pytest.mark.parametrize(("changes", "code", "text"), SILENT_IN_THE_REFERENCE.values(), ids=SILENT_IN_THE_REFERENCE)
async def test_the_caller_hears_what_the_reference_swallows(changes: dict[str, Any], code: int, text: str) -> None:
    """An error on `ret`, and the item with the reason in the dead-letter stream."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.memory.push(keys.LOCAL_REQUESTS, request_json(b.twin.id, **changes))
        answer = await a.popped("my-ret")
        assert (answer["ref"], answer["src"], answer["now"]) == ("my-ref", "", 0)
        assert answer["err"]["code"] == code
        assert answer["err"]["message"].startswith(text)
        await a.until_idle()
        (letter,) = a.memory.dead
        assert letter.reason.startswith(text)
        assert not a.memory.outbox
        assert not relay.received


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense", b"[]", b"1", b'"text"', b"\xff\xfe", b"{}", b'{"ret":5}', b"[" * 5000]
)
async def test_noise_becomes_a_dead_letter(raw: bytes) -> None:
    """What cannot be answered is kept with its reason, and the next request is served."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.memory.push(keys.LOCAL_REQUESTS, raw)
        a.request(b.twin.id)
        await b.popped("msgbus.test.echo")
        await a.until_idle()
        (letter,) = a.memory.dead
        assert (letter.kind, letter.raw) == ("request", raw)
        assert letter.reason
        assert not a.memory.outbox


@pytest.mark.parametrize("ret", ["msgbus.system.local", "msgbus.system.reply", "rmb:outbox"])
async def test_ret_must_not_name_our_own_queues(ret: str) -> None:
    """A `ret` that names a queue of the gateway is refused without pushing anything there."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, ret=ret)
        a.request(b.twin.id)
        await b.popped("msgbus.test.echo")
        await a.until_idle()
        (letter,) = a.memory.dead
        assert "`ret` must not name a queue of the gateway" in letter.reason
        assert not a.memory.lists.get(ret)


async def test_one_bad_destination_does_not_hold_up_the_others() -> None:
    """With several destinations only the unknown one is reported; the others get the request (spec rmb 5.2)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(4711, b.twin.id, 4712)
        b.respond(await b.popped("msgbus.test.echo"))
        answers = [await a.popped("my-ret") for _ in range(3)]
        assert sorted(answer["src"] for answer in answers) == ["", "", str(b.twin.id)]
        assert {answer["err"]["message"] for answer in answers if answer["err"]} == {
            "unknown twin id '4711'",
            "unknown twin id '4712'",
        }


async def test_payload_over_the_limit() -> None:
    """A clear error that names both sizes, before anything is sent."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay, running_node(registry, [relay.url], message_bytes_max=100_000) as a:
        a.request(a.twin.id, dat=base64.b64encode(bytes(100_001)).decode())
        answer = await a.popped("my-ret")
        assert answer["err"]["code"] == 413
        assert "100001 bytes" in answer["err"]["message"]
        assert "100000 bytes" in answer["err"]["message"]
        a.request(a.twin.id, dat=base64.b64encode(bytes(99_950)).decode())  # fits, but not with its envelope
        assert (await a.popped("my-ret"))["err"]["code"] == 413
        assert not relay.received


async def respond_badly(relay: ScriptedRelay, a: Node, b: Node, **changes: Any) -> dict[str, Any]:
    a.request(b.twin.id)
    request = await b.popped("msgbus.test.echo")
    b.respond(request, **changes)
    return await a.popped("my-ret")


@pytest.mark.parametrize(
    "changes",
    [{"dat": "a b"}, {"err": {"code": "x", "message": "y"}}, {"err": "text"}, {"ver": ...}, {"now": -1}, {"shm": 5}],
)
async def test_requester_hears_of_an_unusable_answer(changes: dict[str, Any]) -> None:
    """A service that answers in a form nobody can read does not leave the requester waiting."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        answer = await respond_badly(relay, a, b, **changes)
        assert answer["err"]["code"] == 500
        assert answer["err"]["message"].startswith("other: the service's answer was unusable: malformed response")
        await b.until_idle()
        assert [letter.kind for letter in b.memory.dead] == ["response"]
        assert not b.memory.outbox


async def test_requester_hears_of_an_unusable_answer_although_the_gateway_was_killed() -> None:
    """The service's answer stays in the outbox until the error about it has arrived."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        request = await b.popped("msgbus.test.echo")
        relay.connections[b.twin.id].transport.pause_reading()
        b.respond(request, dat="a b")
        await b.until(lambda: b.memory.dead)
        await b.until(lambda: b.pool._lanes[0].link.unconfirmed)
        await b.conclusions.flush()
        assert len(b.memory.outbox) == 1
        relay.connections[b.twin.id].transport.resume_reading()
        await b.until_idle()
        assert not b.memory.outbox


async def test_with_workers_too_large_is_found_after_sealing_and_order_is_kept() -> None:
    """A payload that fits, but not with its envelope, is refused as without `--workers`; what follows it arrives."""
    registry, identity = MemoryRegistry(), new_identity()
    async with (
        scripted_relay() as relay,
        running(Workers(1, identity)) as workers,
        running_node(registry, [relay.url], identity=identity, workers=workers, message_bytes_max=100_000) as a,
        running_node(registry, [relay.url]) as b,
    ):
        for number, size in enumerate((10, 99_950, 20)):
            a.request(b.twin.id, ref=str(number), dat=base64.b64encode(bytes(size)).decode())
        refused = await a.popped("my-ret")
        assert (refused["ref"], refused["err"]["code"]) == ("1", 413)
        assert refused["err"]["message"].startswith("message of 100")
        assert [len((await b.popped("msgbus.test.echo"))["dat"]) for _ in range(2)] == [16, 28]
        await a.until_idle()


@pytest.mark.parametrize(
    "changes",
    [
        {"dat": base64.b64encode(bytes(100_001)).decode()},
        {"dat": base64.b64encode(bytes(99_950)).decode()},  # fits, but not with its envelope
        {"shm": "x" * 100_000},
        {"err": {"code": 1, "message": "x" * 100_000}},
    ],
)
async def test_requester_hears_of_an_answer_over_the_limit(changes: dict[str, Any]) -> None:
    """Whatever makes it too large, the requester does not wait in vain, and the answer is kept."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url], message_bytes_max=100_000) as b,
    ):
        answer = await respond_badly(relay, a, b, **changes)
        assert answer["err"]["code"] == 413
        assert answer["err"]["message"].startswith("the service's answer was too large: message of 100")
        await b.until_idle()
        assert [letter.kind for letter in b.memory.dead] == ["response"]
        assert not b.memory.outbox


async def test_nobody_is_told_twice_of_an_expired_request() -> None:
    """A gateway killed after it told and before it forgot finds the request, expired, and tells only the others."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay, running_node(registry, [relay.url], wait_connected=False) as a:
        began_s = int(time.time()) - 100
        found = Taken("7-0", "request", request_json(1, 2, now=began_s, exp=50), found_since_s=began_s)
        a.memory.outbox["7-0"] = found
        a.conclusions.tell(Delivery("my-ret", local_error("my-ref", 103, "told"), ("told:7-0:1",), 60))
        await a.conclusions.flush()
        await a.upstream.handle([found])
        await a.conclusions.flush()
        assert [(await a.popped("my-ret"))["err"]["code"] for _ in range(2)] == [103, 102]
        assert not a.memory.lists["my-ret"]
        assert not a.memory.outbox


@pytest.mark.parametrize("dst", ["nonsense", "-1", "4294967296", "", 5, None, "0"])
async def test_an_answer_to_nobody_becomes_a_dead_letter(dst: Any) -> None:
    """An answer whose `dst` leads nowhere is kept with the reason."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (_, b):
        b.memory.push(keys.LOCAL_REPLIES, json.dumps({"ver": 1, "ref": "u", "dat": "", "dst": dst, "now": 0}).encode())
        await b.until(lambda: b.memory.dead)
        await b.until_idle()
        assert not b.memory.outbox


async def test_an_answer_older_than_its_lifetime_becomes_a_dead_letter() -> None:
    """A response whose `now` is 1800 s or more in the past is not sent (spec rmb 5.4; C 14)."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        b.respond(await b.popped("msgbus.test.echo"), now=int(time.time()) - 1801)
        await b.until_idle()
        (letter,) = b.memory.dead
        assert letter.reason.startswith("response has expired")
        assert len(relay.received) == 1
