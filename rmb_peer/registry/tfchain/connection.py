"""Work on a node of the chain, with failover over several URLs: blocking inside, asyncio outside.

`substrate-interface` blocks and is not thread-safe (spec tfchain 11), so one thread owns the connection and does one
piece of work after the other (`worker`). A thread that does not come back in time is left to itself: its socket is cut,
nobody waits for it, and a new one goes on with the next URL. This module refuses to know what the work is.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from rmb_peer.logs import event, get_logger
from rmb_peer.registry.tfchain.errors import ChainUnavailable
from rmb_peer.registry.tfchain.node import Node
from rmb_peer.registry.tfchain.urls import shown_url
from rmb_peer.registry.tfchain.worker import Check, Dial, GivenUp, Job, Nodes, Worker

CONNECT_S_MAX = 12.0
"""One attempt to connect, as in the Rust programs (spec tfchain 7)."""

ROUNDS = 2
"""How often the list of URLs is gone through before giving up, as in the Rust programs."""

WORK_S_MAX = 10.0
"""One piece of work on a connected node; a guess: reading 256 twins takes milliseconds."""

CHECK_S_MAX = 30.0
"""Looking at a node that was just connected; a guess. Decoding its metadata is a second of computing, and many on a
machine that is busy."""

GRACE_S = 15.0
"""How much longer than its limit a thread may take before it is given up. A guess: it covers what no deadline reaches,
which is resolving names, loading the library, and a busy machine."""

PAUSE_S_FIRST, PAUSE_S_MAX = 1.0, 6.0
"""After all nodes failed, calls fail at once for this long, doubling; as the Rust programs pause (spec rmb 7.5)."""

CLOSE_S_MAX = 2.0
"""Longest wait for a thread when closing; a guess."""

_LOG = get_logger("chain")

Result = TypeVar("Result")


def dial_node(url: str, open_s_max: float) -> Node:
    """Connect to a node for real."""
    return Node(url, open_s_max=open_s_max)


def accept_any(node: Node) -> None:
    """The check that rejects no node."""


class ChainConnection:
    """A connection to whichever node of a list answers.

    Any number of tasks may use `call`; their work is done one after the other, in order. A subscription occupies the
    thread, so who follows the chain needs a connection of its own.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        check: Check = accept_any,
        dial: Dial = dial_node,
        clock: Callable[[], float] = time.monotonic,
        connect_s_max: float = CONNECT_S_MAX,
        check_s_max: float = CHECK_S_MAX,
        rounds: int = ROUNDS,
        grace_s: float = GRACE_S,
        pause_s: tuple[float, float] = (PAUSE_S_FIRST, PAUSE_S_MAX),
    ) -> None:
        """Nothing is connected before the first call.

        Args:
            urls: nodes of one chain, `ws://` or `wss://`, preferred first.
            check: looks at a node that has just been connected, on the thread; raises `NodeFailed` to reject it.
            dial: connects to a URL within some seconds, or raises `NodeFailed`.
            clock: monotonic seconds.
            connect_s_max: see `CONNECT_S_MAX`.
            check_s_max: see `CHECK_S_MAX`.
            rounds: see `ROUNDS`.
            grace_s: see `GRACE_S`.
            pause_s: first and longest pause, see `PAUSE_S_FIRST`.
        """
        assert urls, "a chain needs a node"
        self._nodes = Nodes(urls)
        self._check, self._dial = check, dial
        self._clock = clock
        self._connect_s_max = connect_s_max
        self._check_s_max = check_s_max
        self._rounds = rounds
        self._grace_s = grace_s
        self._pause_s = pause_s
        self._next_pause_s = pause_s[0]
        self._failure: ChainUnavailable | None = None
        self._again_at = 0.0
        self._worker: Worker | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """The node in use, or the one to be tried next."""
        return self._nodes.current

    async def call(
        self, work: Callable[[Node], Result], *, limit_s: float | None = WORK_S_MAX, repeat: bool = True
    ) -> Result:
        """Do something with a connected node.

        Cancelling this while the work is being done cuts the connection: blocking work ends in no other way.

        Args:
            work: runs on the thread, alone. What it raises comes out here, `NodeFailed` excepted.
            limit_s: longest time for the work on one node, connecting excluded; `None` for work that is cancelled when
                it has done enough, such as a subscription.
            repeat: whether it may be done again on the next node when one fails in the middle. Reading may, sending a
                transaction may not.

        Raises:
            ChainUnavailable: no node could be used, now or a moment ago.
            NodeRefused: a node answered a question of the work with an error.
        """
        self._refuse_during_pause()
        for _ in range(self._rounds * len(self._nodes.urls)):
            if self._closed:
                break
            worker = self._worker or self._start_worker()
            job = Job(work, limit_s, repeat)
            worker.put(job)
            try:
                result: Result = await self._outcome(worker, job)
            except GivenUp:
                if job.begun and not repeat:
                    break
            except ChainUnavailable as failure:
                raise self._failed(failure) from None
            else:
                self._works_again()
                return result
        if self._closed:
            raise ChainUnavailable("the connection to the chain was closed")
        raise self._failed(
            ChainUnavailable(f"no node of the chain answers in time (the last was {shown_url(self.url)})")
        )

    def leave_node(self) -> None:
        """Go on with the next URL: for a node that answers and is of no use all the same, because it has stalled."""
        if self._worker is not None:
            self._give_up(self._worker)

    async def close(self) -> None:
        """Cut the connection; work that is being done ends with `ChainUnavailable`. Closing twice is harmless."""
        self._closed = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.give_up()
            await asyncio.to_thread(worker.join, CLOSE_S_MAX)

    def _start_worker(self) -> Worker:
        self._worker = Worker(
            self._nodes,
            dial=self._dial,
            check=self._check,
            clock=self._clock,
            connect_s_max=self._connect_s_max,
            check_s_max=self._check_s_max,
            grace_s=self._grace_s,
            rounds=self._rounds,
        )
        return self._worker

    async def _outcome(self, worker: Worker, job: Job) -> Result:
        waiting: asyncio.Future[Result] = asyncio.wrap_future(job.outcome)
        try:
            while not waiting.done():
                left_s = worker.deadline - self._clock()
                if left_s <= 0:
                    self._give_up(worker)  # every job of that thread fails with `GivenUp`, this one included
                await asyncio.wait({waiting}, timeout=min(max(left_s, 0.0), self._grace_s))
            return waiting.result()
        except asyncio.CancelledError:
            if worker.doing(job):
                self._give_up(worker)
            waiting.cancel()
            raise

    def _give_up(self, worker: Worker) -> None:
        if worker is self._worker:
            self._worker = None
            event(_LOG, logging.DEBUG, "a node is left", node=shown_url(self.url))
            self._nodes.leave(self._nodes.current)
        worker.give_up()

    def _refuse_during_pause(self) -> None:
        if self._failure is not None and self._clock() < self._again_at:
            raise type(self._failure)(self._failure.detail)

    def _failed(self, failure: ChainUnavailable) -> ChainUnavailable:
        now = self._clock()
        if self._failure is None:
            event(_LOG, logging.WARNING, "the chain cannot be reached", reason=failure.detail)
        if now >= self._again_at:
            self._again_at = now + self._next_pause_s
            self._next_pause_s = min(2 * self._next_pause_s, self._pause_s[1])
        self._failure = failure
        return failure

    def _works_again(self) -> None:
        if self._failure is not None:
            event(_LOG, logging.INFO, "the chain answers again", node=shown_url(self.url))
        self._failure = None
        self._next_pause_s = self._pause_s[0]
