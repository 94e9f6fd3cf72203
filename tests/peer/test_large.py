"""Large payloads through whole gateways: intact, in order within a conversation, others go past, nothing is lost."""

import asyncio
import base64
import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rmb_peer import large, large_arrivals, sender
from rmb_peer.large import ITEMS_MAX, Aside, in_pieces
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.large_envelope import LARGE_BYTES, seal_and_sign_large, verify_large
from rmb_peer.registry.memory import MemoryRegistry
from tests.support.gateways import WAIT_S, running_node, two_nodes
from tests.support.scripted_relay import scripted_relay

LARGE = LARGE_BYTES + 1000


def text(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def payload(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["dat"])


class Gate:
    """A function that waits in its thread until it is let go."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._open = threading.Event()
        self.entered = 0

    def __call__(self, *arguments: Any) -> Any:
        self.entered += 1
        assert self._open.wait(WAIT_S)
        return self._function(*arguments)

    def let_go(self) -> None:
        self._open.set()


async def test_the_largest_payload_crosses_intact() -> None:
    """There and back: every byte of it, and nothing is left behind."""
    content = os.urandom(MESSAGE_BYTES_MAX - 1024)
    async with scripted_relay() as relay, two_nodes(relay.url, "sr25519", "ed25519") as (a, b):
        a.request(b.twin.id, dat=text(content))
        request = await b.popped("msgbus.test.echo")
        assert hashlib.sha256(payload(request)).digest() == hashlib.sha256(content).digest()
        b.respond(request, content)
        response = await a.popped("my-ret")
        assert response["err"] is None
        assert payload(response) == content
        await a.until_idle()
        await b.until_idle()
        assert not a.memory.outbox
        assert not b.memory.outbox


async def test_large_and_small_of_one_conversation_keep_their_order() -> None:
    """Whatever takes longer: services get them as they were pushed."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        sizes = [1, LARGE, 2, 3, 2 * LARGE, LARGE, 4, 5]
        for size in sizes:
            a.request(b.twin.id, dat=text(bytes(size)))
        assert [len(payload(await b.popped("msgbus.test.echo"))) for _ in sizes] == sizes


async def test_others_go_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large one is sealed, requests to other twins arrive; those to the same twin wait."""
    gate = Gate(seal_and_sign_large)
    monkeypatch.setattr(sender, "seal_and_sign_large", gate)
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url]) as b,
        running_node(registry, [relay.url]) as c,
    ):
        a.request(b.twin.id, dat=text(bytes(LARGE)))
        a.request(b.twin.id, dat=text(b"behind"))
        a.request(c.twin.id, dat=text(b"past"))
        assert payload(await c.popped("msgbus.test.echo")) == b"past"
        assert b.memory.pop_oldest("msgbus.test.echo") is None
        gate.let_go()
        assert len(payload(await b.popped("msgbus.test.echo"))) == LARGE
        assert payload(await b.popped("msgbus.test.echo")) == b"behind"


async def test_others_go_past_at_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large one is verified, messages of other twins are delivered; those of the same twin wait."""
    gate = Gate(verify_large)
    monkeypatch.setattr(large_arrivals, "verify_large", gate)
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url]) as b,
        running_node(registry, [relay.url]) as c,
    ):
        a.request(b.twin.id, dat=text(bytes(LARGE)))
        a.request(b.twin.id, dat=text(b"behind"))
        await b.until(lambda: gate.entered)
        c.request(b.twin.id, dat=text(b"past"))
        assert payload(await b.popped("msgbus.test.echo")) == b"past"
        assert not b.downstream.idle
        gate.let_go()
        assert len(payload(await b.popped("msgbus.test.echo"))) == LARGE
        assert payload(await b.popped("msgbus.test.echo")) == b"behind"


async def test_what_is_in_a_thread_is_still_in_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed then finds it there at the next start; it leaves when a relay has it, and not before."""
    gate = Gate(seal_and_sign_large)
    monkeypatch.setattr(sender, "seal_and_sign_large", gate)
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, dat=text(bytes(LARGE)))
        await a.until(lambda: gate.entered)
        assert [taken.kind for taken in a.memory.outbox.values()] == ["request"]
        assert not relay.received
        gate.let_go()
        assert len(payload(await b.popped("msgbus.test.echo"))) == LARGE
        await a.until_idle()
        assert not a.memory.outbox


async def test_what_is_in_a_thread_is_still_the_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one that arrives is settled when it is in a list, and not before."""
    gate = Gate(verify_large)
    monkeypatch.setattr(large_arrivals, "verify_large", gate)
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, dat=text(bytes(LARGE)))
        await b.until(lambda: gate.entered)
        assert not b.downstream.idle
        assert b.memory.pop_oldest("msgbus.test.echo") is None
        gate.let_go()
        assert len(payload(await b.popped("msgbus.test.echo"))) == LARGE
        await b.until(lambda: b.downstream.idle)


@pytest.mark.parametrize(
    ("dat", "code"), [("A" * LARGE_BYTES + "!", 400), ("A" * (MESSAGE_BYTES_MAX // 3 * 4 + 8), 413)]
)
async def test_a_large_mistake_is_told(dat: str, code: int) -> None:
    """No base64, and too large: the caller reads why, and the outbox is empty."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, dat=dat)
        answer = await a.popped("my-ret")
        assert answer["err"]["code"] == code
        await a.until(lambda: not a.memory.outbox and a.memory.dead)


async def test_an_answer_that_is_no_base64_is_told_to_the_requester() -> None:
    """As for small ones: the requester does not wait for its deadline."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        request = await b.popped("msgbus.test.echo")
        b.respond(request, dat="A" * LARGE_BYTES + "!")
        answer = await a.popped("my-ret")
        assert "unusable" in answer["err"]["message"]


async def test_one_large_one_at_a_time() -> None:
    """Memory is bounded: the next one begins when the last one has ended, whoever it belongs to."""
    tasks: set[asyncio.Task[None]] = set()
    working, most = 0, 0
    done: list[str] = []

    async def work(item: str) -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await in_pieces(iter(range(3)))
        working -= 1
        done.append(item)

    aside: Aside[str] = Aside(lambda coroutine: tasks.add(asyncio.ensure_future(coroutine)), work, done.append)
    for conversation in "abc":
        aside.put(conversation, f"{conversation}1", 1, is_large=True)
        aside.put(conversation, f"{conversation}2", 1, is_large=False)
        assert aside.holds(conversation)
    await asyncio.gather(*tasks)
    assert most == large.AT_ONCE == 1
    assert sorted(done) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert all(done.index(f"{name}1") < done.index(f"{name}2") for name in "abc")
    assert not aside.busy


async def test_what_waits_is_bounded() -> None:
    """Whoever asks for room waits while as much waits as may."""
    begun = asyncio.Event()
    release = asyncio.Event()

    async def work(item: int) -> None:
        begun.set()
        await release.wait()

    async with asyncio.TaskGroup() as tasks:
        aside: Aside[int] = Aside(tasks.create_task, work, lambda item: None)
        for number in range(ITEMS_MAX):
            assert aside.has_room
            aside.put("a", number, 0, is_large=number == 0)
        await begun.wait()
        assert not aside.has_room
        room = tasks.create_task(aside.room())
        await asyncio.sleep(0)
        assert not room.done()
        release.set()
        await room
        assert aside.has_room
