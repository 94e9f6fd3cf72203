"""Exactly one ending for each destination, whatever happens in which order: a state machine over both stores.

Steps are those of `upstream`, `downstream`, `deadlines` and `conclusions`, cut where a process can die: what was read
may be written later, twice, or never. The checker keeps its own books from what it pushed in and finds on the lists.
"""

import asyncio
import os
import re
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from rmb_peer.deadlines import Deadlines
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.local.memory_queues import MemoryQueues
from rmb_peer.local.queues import Delivery, Ending, LocalQueues, Outcome, Waiting
from rmb_peer.local.redis_queues import RedisQueues, connect

T = TypeVar("T")
NO_ANSWER = re.compile(rb"no answer from twin ([0-9]+) within")
TWINS = st.integers(1, 3)
LIFETIME_S = 10


class Store:
    """One store, used by a state machine that knows no coroutines."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def fresh(self) -> LocalQueues:
        """An empty store, or rather a new gateway on it."""
        raise NotImplementedError

    def drained(self, name: str) -> list[bytes]:
        """Everything on a list, oldest first."""
        raise NotImplementedError


class InMemory(Store):
    def fresh(self) -> LocalQueues:
        self.queues = MemoryQueues(now=lambda: 0.0, random_bytes=os.urandom)
        return self.queues

    def drained(self, name: str) -> list[bytes]:
        found = []
        while (item := self.queues.pop_oldest(name)) is not None:
            found.append(item)
        return found


class InValkey(Store):
    def __init__(self, runner: asyncio.Runner, server: EmbeddedValkey) -> None:
        super().__init__(runner)
        self.redis: Any = Redis.from_url(server.url)
        self.queues = RedisQueues(self.run(connect(server.url)), random_bytes=os.urandom)

    def fresh(self) -> LocalQueues:
        self.run(self.redis.flushall())
        return self.queues

    def drained(self, name: str) -> list[bytes]:
        async def drain() -> list[bytes]:
            items = await self.redis.lrange(name, 0, -1)
            await self.redis.delete(name)
            return list(reversed(items))

        return self.run(drain())

    def close(self) -> None:
        self.run(self.queues.close())
        self.run(self.redis.aclose())


class Endings(RuleBasedStateMachine):
    """See the module."""

    store: Store

    @initialize()
    def start(self) -> None:
        self.queues = self.store.fresh()
        self.now_s = 1000.0
        self.requests: dict[str, Waiting] = {}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.errors: Counter[tuple[str, int]] = Counter()
        self.unwritten: list[list[Delivery]] = []
        self.marks = 0

    @rule(twins=st.lists(TWINS, min_size=1, max_size=4))
    def ask(self, twins: list[int]) -> None:
        uid = f"u{len(self.requests)}"
        deadline_s = int(self.now_s) + LIFETIME_S
        request = Waiting(uid, None, uid, LIFETIME_S, tuple(twins), deadline_s, f"{len(self.requests) + 1}-0")
        self.store.run(self.queues.remember([request]))
        self.requests[uid] = request

    @rule(seconds=st.integers(1, 8))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), index=st.integers(0, 3), repeat=st.sampled_from([False, False, True]))
    def an_answer_comes(self, data: st.DataObject, index: int, repeat: bool) -> None:
        request = self._choose(data)
        twin = request.destinations[index % len(request.destinations)]
        self.marks += not repeat
        value = f"a{twin}".encode()
        ending = Ending.of(request, twin, ours=False)
        (waiting,) = self.store.run(self.queues.recall([request.uid]))
        if waiting is not None:  # as `downstream` does
            delivery = Delivery(request.reply_to, value, (f"mark{self.marks}",), 60, ending)
            (outcome,) = self.store.run(self.queues.deliver([delivery]))
            assert outcome in (Outcome.DELIVERED, Outcome.REPEATED, Outcome.LATE)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), index=st.integers(0, 3))
    def sending_to_one_fails(self, data: st.DataObject, index: int) -> None:
        request = self._choose(data)
        twin = request.destinations[index % len(request.destinations)]
        error = Delivery(request.reply_to, f"e{twin}".encode(), (), 0, Ending.of(request, twin, ours=True))
        self.store.run(self.queues.conclude([error], (), ()))

    @rule()
    def deadlines_are_read(self) -> None:
        """What `sweep` reads, and a process that stops there for a while, or dies."""
        for overdue in self.store.run(self.queues.overdue(self.now_s, 10)):
            assert isinstance(overdue.waiting, Waiting)
            waiting = overdue.waiting
            self.unwritten.append(
                [
                    Delivery(
                        waiting.reply_to, f"e{twin}".encode(), (), 0, Ending.of(waiting, twin, ours=True, kept_s=0)
                    )
                    for twin in overdue.silent
                ]
            )

    @precondition(lambda self: self.unwritten)
    @rule(data=st.data(), twice=st.booleans())
    def deadlines_are_written(self, data: st.DataObject, twice: bool) -> None:
        errors = self.unwritten.pop(data.draw(st.integers(0, len(self.unwritten) - 1)))
        for _ in range(1 + twice):  # the answer of the store got lost, and it is asked again
            self.store.run(self.queues.conclude(errors, (), ()))

    @rule()
    def deadlines_are_told(self) -> None:
        """An undisturbed sweep."""
        self.store.run(Deadlines(self.queues, lambda: self.now_s).sweep())

    @rule()
    def a_new_run_looks_what_is_open(self) -> None:
        requests = list(self.requests.values())
        self._count()
        for request, still_open in zip(requests, self.store.run(self.queues.still_open(requests)), strict=True):
            for twin in request.destinations:
                asked = request.destinations.count(twin)
                ended = self.answers[request.uid, twin] > 0 or self.errors[request.uid, twin] >= asked
                assert (twin in still_open) == (not ended)

    @invariant()
    def nobody_hears_twice(self) -> None:
        if not hasattr(self, "requests"):
            return
        self._count()
        for request in self.requests.values():
            for twin in set(request.destinations):
                answers, errors = self.answers[request.uid, twin], self.errors[request.uid, twin]
                asked = request.destinations.count(twin)
                assert errors <= asked
                assert not (answers and errors >= asked), "an answer and all errors"
                assert not (answers and errors and asked == 1)

    def teardown(self) -> None:
        """At the end of time everybody has heard of every destination."""
        if not hasattr(self, "requests"):
            return
        deadlines = Deadlines(self.queues, lambda: 10.0**6)
        while self.store.run(deadlines.sweep()):
            pass
        self.nobody_hears_twice()
        for request in self.requests.values():
            for twin in set(request.destinations):
                asked = request.destinations.count(twin)
                ended = self.answers[request.uid, twin] or self.errors[request.uid, twin] == asked
                assert ended, f"{twin} of {request} has no ending"

    def _choose(self, data: st.DataObject) -> Waiting:
        """One of the last few, so that several things happen to the same one."""
        return data.draw(st.sampled_from(list(self.requests.values())[-2:]))

    def _count(self) -> None:
        for uid in self.requests:
            for item in self.store.drained(uid):
                told = NO_ANSWER.search(item)
                twin = int(told[1]) if told else int(item[1:])
                counter = self.answers if item.startswith(b"a") else self.errors
                counter[uid, twin] += 1


@pytest.mark.parametrize("kind", ["memory", "valkey"])
def test_every_destination_ends_exactly_once(kind: str) -> None:
    """No destination is silent for ever, none ends by an error and an answer, whatever is interrupted or repeated."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        server = runner.run(EmbeddedValkey.start(Path(folder))) if kind == "valkey" else None
        store: Store = InMemory(runner) if server is None else InValkey(runner, server)
        try:
            run_state_machine_as_test(
                type("Machine", (Endings,), {"store": store}),
                settings=settings(
                    max_examples=40 if server is None else 15,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            if isinstance(store, InValkey):
                store.close()
            if server is not None:
                runner.run(server.stop())
