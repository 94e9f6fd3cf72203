"""Every sender hears how it ended: silence, damage, restarts; on gateways in this process and by an injected clock."""

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import pytest

from rmb_peer import deadlines
from rmb_peer.deadlines import GRACE_S, Deadlines
from rmb_peer.downstream import EXPIRED_AT_RELAY
from rmb_peer.journal import Journal
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.messages import local_error
from rmb_peer.local.queues import Damaged, Delivery, Ending, Overdue, Taken, Waiting
from rmb_peer.protocol.envelope import Envelope, relay_error
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.remembered import TEXT_CHARS_MAX
from rmb_peer.transport.parcels import Reached
from rmb_peer.uids import request_uid
from tests.support.gateways import Node, request_json, running_node, two_nodes
from tests.support.scripted_relay import scripted_relay


def memory() -> MemoryQueues:
    return MemoryQueues(now=time.monotonic, random_bytes=os.urandom)


def told(queues: MemoryQueues, name: str = "ret") -> list[dict[str, Any]]:
    """Everything on a list, oldest first."""
    return [json.loads(item) for item in reversed(queues.lists.get(name, ()))]


async def test_each_silent_destination_is_named() -> None:
    """One error for each, code 504, with the caller's reference, and the form of every error of the gateway."""
    queues, journal = memory(), Journal()
    await queues.remember([Waiting("u", "ref", "ret", 60, (9, 8), 1000)])
    assert await Deadlines(queues, lambda: 999.0, journal).sweep() == 0
    assert await Deadlines(queues, lambda: 1000.0, journal).sweep() == 1
    texts = ["no answer from twin 9 within 60 s", "no answer from twin 8 within 60 s"]
    assert told(queues) == [json.loads(local_error("ref", 504, text)) for text in texts]
    assert await Deadlines(queues, lambda: 5000.0, journal).sweep() == 0
    assert journal.counts["expired"] == 2


async def test_a_request_to_more_than_fits_into_one_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is told by the next sweep; nobody is left out or told twice."""
    monkeypatch.setattr(deadlines, "ERRORS_MAX", 10)
    queues = memory()
    await queues.remember(
        [Waiting("u1", None, "ret", 60, tuple(range(1, 26)), 10), Waiting("u2", None, "ret", 60, (7,), 11)]
    )
    watch = Deadlines(queues, lambda: 1000.0)
    sweeps = 0
    while await watch.sweep():
        sweeps += 1
        assert len(told(queues)) <= 10 * sweeps
    assert len({answer["err"]["message"] for answer in told(queues)}) == 25
    assert len(told(queues)) == 26


class DamagedQueues(MemoryQueues):
    """A store in which the record of `u` is damaged."""

    damaged = True

    async def overdue(self, now_s: float, count_max: int) -> list[Overdue]:
        return [Overdue("u", Damaged(b"\xff"), ())] if self.damaged else []

    async def forget(self, uids: Sequence[str]) -> None:
        self.damaged = self.damaged and "u" not in uids


async def test_a_damaged_record_becomes_a_dead_letter() -> None:
    """Nobody can be told; the letter names the message, and the next sweep is free of it."""
    queues = DamagedQueues(now=time.monotonic, random_bytes=os.urandom)
    watch = Deadlines(queues, lambda: 1000.0)
    assert [await watch.sweep(), await watch.sweep()] == [1, 0]
    (letter,) = queues.dead
    assert (letter.kind, letter.raw, letter.uid) == ("record", b"\xff", "u")


async def test_silence_is_told_after_the_lifetime() -> None:
    """End to end: a service that never answers, in a request to two of which one does."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(a.twin.id, b.twin.id, exp=1)
        a.respond(await a.popped("msgbus.test.echo"))
        endings = [await a.popped("my-ret") for _ in range(2)]
        assert {ending["src"]: (ending["err"] or {}).get("message") for ending in endings} == {
            str(a.twin.id): None,
            "": f"no answer from twin {b.twin.id} within 1 s",
        }


async def test_an_error_of_a_destination_is_its_end() -> None:
    """No deadline error follows an error that the other gateway or its service sent."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, cmd="rmb.nothing")
        assert (await a.popped("my-ret"))["err"]["code"] == 404
        await a.until_idle()
        assert await Deadlines(a.queues, lambda: time.time() + 3600).sweep() == 0


async def error_of_a_relay(a: Node, relay: Any, *destinations: int) -> None:
    a.request(*destinations)
    await relay.until(lambda: len(relay.received) == len(destinations))
    uid = relay.received[0].uid
    await relay.deliver(a.twin.id, relay_error(uid, "destination offline", int(time.time()), None))
    assert (await a.popped("my-ret"))["src"] == "0"
    await a.until_idle()


@pytest.mark.only("rmb.1")  # over rmb.2 a relay refuses on the link, see test_acknowledged
async def test_an_error_of_a_relay_ends_a_single_destination() -> None:
    """It names none, so of several nobody knows whose it is, and each silent one is named at the deadline."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.swallow = lambda envelope: True
        await error_of_a_relay(a, relay, b.twin.id)
        assert await Deadlines(a.queues, lambda: time.time() + 3600).sweep() == 0
        relay.received.clear()
        await error_of_a_relay(a, relay, b.twin.id, a.twin.id)
        assert await Deadlines(a.queues, lambda: time.time() + 3600).sweep() == 1
        assert len(a.memory.lists["my-ret"]) == 2


async def test_a_copy_that_expired_at_a_relay_is_left_to_the_deadline() -> None:
    """Of several destinations the relay names none, and the deadline names each: nobody hears twice."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        relay.swallow = lambda envelope: True
        a.request(b.twin.id, a.twin.id)
        await relay.until(lambda: len(relay.received) == 2)
        expired = relay_error(relay.received[0].uid, EXPIRED_AT_RELAY, int(time.time()), None)
        await relay.deliver(a.twin.id, expired)
        await a.until(
            lambda: a.downstream.counts["one of several copies has expired at a relay: the deadline names it"]
        )
        assert not a.memory.lists.get("my-ret")


async def test_an_answer_after_the_error_is_dropped() -> None:
    """The deadline error is the last word about a destination; the answer is counted as late."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id, a.twin.id)
        request = await b.popped("msgbus.test.echo")
        waiting = await a.queues.recall([request["ref"]])
        error = Delivery("my-ret", b"{}", (), 0, Ending.of(waiting[0], b.twin.id, ours=True))
        await a.queues.conclude([error], (), ())
        b.respond(request)
        await a.until(lambda: a.downstream.counts["late"])
        assert await a.popped("my-ret") == {}
        assert not a.memory.lists["my-ret"]


@pytest.mark.parametrize("error", [{"code": 102, "message": "request has expired"}, {"code": 429, "message": "full"}])
@pytest.mark.parametrize("error_first", [False, True])
async def test_what_concerns_a_copy_counts_only_while_nothing_else_has_come(
    error: dict[str, Any], error_first: bool
) -> None:
    """One copy may expire or find a full list while another is answered: one ending, whichever comes first."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        request = await b.popped("msgbus.test.echo")
        failed: dict[str, Any] = {"err": error, "dat": ""}
        nothing: dict[str, Any] = {}
        for changes in (failed, nothing) if error_first else (nothing, failed):
            b.respond(request, **changes)
        await a.until(lambda: a.downstream.counts.total() == 2)
        assert ((await a.popped("my-ret"))["err"] is not None) == error_first
        assert not a.memory.lists["my-ret"]


async def test_an_error_of_a_relay_after_the_answer_is_dropped() -> None:
    """A repeat may be refused by a relay while the first copy is answered: the answer is the only ending."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        request = await b.popped("msgbus.test.echo")
        b.respond(request)
        assert (await a.popped("my-ret"))["err"] is None
        error = relay_error(request["ref"], "exceeded rate limits, dropping message", int(time.time()), None)
        await relay.deliver(a.twin.id, error)
        await a.until(lambda: a.downstream.counts.total() == 2)
        assert not a.memory.lists["my-ret"]


# --- what a new run finds ---------------------------------------------------------------------------------------------


async def found_by(a: Node, *destinations: int, remembered: bool, began_s: int, exp: int = 50) -> tuple[Taken, Waiting]:
    """An entry as a run left it that was killed after taking, or after remembering it."""
    raw = request_json(*destinations, now=began_s, exp=exp, ref="r")
    item = Taken("7-0", "request", raw, found_since_s=began_s, remembered=remembered)
    a.memory.outbox["7-0"] = item
    uid = request_uid(await a.queues.uid_key(), "7-0")
    waiting = Waiting(uid, "r", "my-ret", exp, destinations, began_s + exp + GRACE_S, "7-0")
    if remembered:
        await a.queues.remember([waiting])
    return item, waiting


async def test_only_who_is_silent_is_asked_again() -> None:
    """Of a request that an earlier run sent, those that have ended are left alone."""
    registry = MemoryRegistry()
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url]) as a,
        running_node(registry, [relay.url]) as b,
    ):
        item, waiting = await found_by(a, a.twin.id, b.twin.id, remembered=True, began_s=int(time.time()))
        answer = Delivery("my-ret", b"{}", ("m",), 60, Ending.of(waiting, a.twin.id, ours=False))
        await a.queues.deliver([answer])
        await a.upstream.handle([item])
        await a.until_idle()
        assert [envelope.destination.twin for envelope in relay.received] == [b.twin.id]
        assert not a.memory.outbox


async def test_what_has_ended_is_not_sent_again() -> None:
    """Everybody had answered, and only forgetting the entry was missing."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        item, waiting = await found_by(a, b.twin.id, remembered=True, began_s=int(time.time()))
        await a.queues.deliver([Delivery("my-ret", b"{}", ("m",), 60, Ending.of(waiting, b.twin.id, ours=False))])
        await a.upstream.handle([item])
        await a.until_idle()
        assert not relay.received
        assert not a.memory.outbox
        assert await Deadlines(a.queues, lambda: time.time() + 3600).sweep() == 0


@pytest.mark.parametrize("remembered", [False, True])
async def test_an_expired_request_is_told_of_once(remembered: bool) -> None:
    """Found after its lifetime: by who reads the outbox if nobody had remembered it, else by its deadline."""
    registry = MemoryRegistry()
    async with scripted_relay() as relay, running_node(registry, [relay.url], wait_connected=False) as a:
        item, _ = await found_by(a, 1, 2, remembered=remembered, began_s=int(time.time()) - 100)
        await a.upstream.handle([item])
        await a.conclusions.flush()
        codes = [(await a.popped("my-ret"))["err"]["code"] for _ in range(2)]
        assert codes == ([504, 504] if remembered else [102, 102])
        assert not a.memory.lists["my-ret"]
        assert not a.memory.outbox
        assert await Deadlines(a.queues, lambda: time.time() + 3600).sweep() == 0


async def test_what_is_refused_is_told_before_the_rest_is_remembered() -> None:
    """A new run takes what precedes the last remembered entry for remembered: a refusal must be written by then."""

    class Store(MemoryQueues):
        left: tuple[str, ...] = ()

        async def remember(self, waiting: Sequence[Waiting]) -> None:
            self.left = tuple(self.outbox)
            await super().remember(waiting)

    registry, store = MemoryRegistry(), Store(now=time.monotonic, random_bytes=os.urandom)
    async with (
        scripted_relay() as relay,
        running_node(registry, [relay.url], queues=store, wait_connected=False) as a,
    ):
        expired = Taken("7-0", "request", request_json(a.twin.id, exp=0, ret="told"))
        good = Taken("8-0", "request", request_json(a.twin.id))
        store.outbox |= {"7-0": expired, "8-0": good}
        await a.upstream.handle([expired, good])
        assert store.left == ("8-0",)
        assert (await a.popped("told"))["err"]["code"] == 102


async def test_an_answer_to_a_damaged_record_is_kept() -> None:
    """Nobody knows who waits for it any more; the answer is a dead letter, and the gateway goes on."""

    class Store(MemoryQueues):
        async def recall(self, uids: Any) -> Any:
            return [Damaged(b"?") for _ in uids]

    registry, store = MemoryRegistry(), Store(now=time.monotonic, random_bytes=os.urandom)
    async with scripted_relay() as relay, running_node(registry, [relay.url], queues=store) as a:
        a.request(a.twin.id, cmd="rmb.version", ref="r" * (TEXT_CHARS_MAX + 1))  # too long for `Remembered`
        await a.until(lambda: a.memory.dead)
        (letter,) = a.memory.dead
        assert letter.kind == "received"
        assert Envelope.FromString(letter.raw).uid == letter.uid
        assert "damaged" in letter.reason


async def test_the_journal_follows_a_message() -> None:
    """Both halves of a conversation, in order, on both sides."""
    async with scripted_relay() as relay, two_nodes(relay.url) as (a, b):
        a.request(b.twin.id)
        b.respond(await b.popped("msgbus.test.echo"))
        await a.popped("my-ret")
        await a.until_idle()
        await b.until_idle()
        assert steps(a) == sorted(["taken", "sealed", "reached", "received", "answered"])
        assert steps(b) == sorted(["received", "queued", "reply-taken", "sealed", "reached"])


def steps(node: Node) -> list[str]:
    """What the journal counted; how far a message reached depends on the link."""
    reached = {where.value for where in Reached}
    return sorted("reached" if code in reached else code for code in node.journal.counts)
