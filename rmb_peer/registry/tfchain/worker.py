"""One thread that owns one connection to a node at a time, and works through a queue.

It goes on to the next URL when a node fails. Somebody else watches its `deadline`: a thread cannot be stopped from
outside, only given up (`give_up`). This module refuses to know about asyncio and about what the work is.
"""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from rmb_peer.registry.tfchain.errors import NodeFailed, unavailable
from rmb_peer.registry.tfchain.node import Node

Dial = Callable[[str, float], Node]
Check = Callable[[Node], None]


class GivenUp(Exception):
    """The thread that held a job is not waited for any more; the job may be given to another."""


@dataclass(slots=True, eq=False)
class Job:
    """Something to do with a connected node.

    Attributes:
        work: what to do.
        limit_s: longest time for it; `None` for none.
        repeat: whether it may be begun again on another node.
        outcome: what it returned or raised; `GivenUp` when the thread was given up.
        begun: whether it was begun.
    """

    work: Callable[[Node], Any]
    limit_s: float | None
    repeat: bool
    outcome: "Future[Any]" = field(default_factory=Future)
    begun: bool = False


class Nodes:
    """The list of nodes, and which of them is in use. Shared by a worker and its successors.

    Attributes:
        urls: all, preferred first.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self._position = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> str:
        """The node to use."""
        return self.urls[self._position]

    def leave(self, url: str) -> None:
        """Go on to the next, unless somebody already did."""
        with self._lock:
            if self.current == url:
                self._position = (self._position + 1) % len(self.urls)


class Worker:
    """The thread.

    Attributes:
        deadline: when what it is doing must have ended; infinite while it is idle or its work has no limit.
    """

    def __init__(
        self,
        nodes: Nodes,
        *,
        dial: Dial,
        check: Check,
        clock: Callable[[], float] = time.monotonic,
        connect_s_max: float,
        check_s_max: float,
        grace_s: float,
        rounds: int,
    ) -> None:
        """Start the thread; see `connection.ChainConnection` for the arguments."""
        self.deadline = math.inf
        self._nodes = nodes
        self._dial = dial
        self._check = check
        self._clock = clock
        self._connect_s_max = connect_s_max
        self._check_s_max = check_s_max
        self._grace_s = grace_s
        self._attempts = rounds * len(nodes.urls)
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._unfinished: dict[Job, None] = {}
        self._lock = threading.Lock()
        self._node: Node | None = None
        self._doing: Job | None = None
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="tfchain", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue a job."""
        with self._lock:
            self._unfinished[job] = None
        self._queue.put(job)

    def doing(self, job: Job) -> bool:
        """Whether the thread is at this job right now."""
        return self._doing is job

    def give_up(self) -> None:
        """End the thread as soon as it can be; what it has not finished fails with `GivenUp`. Never waits."""
        with self._lock:
            self._given_up = True
            jobs, self._unfinished = list(self._unfinished), {}
            node = self._node if self._doing is not None else None
        self._queue.put(None)
        if node is not None:
            node.abort()
        for job in jobs:
            if not job.outcome.cancelled():
                with contextlib.suppress(InvalidStateError):  # the thread was quicker
                    job.outcome.set_exception(GivenUp())

    def join(self, seconds: float) -> None:
        """Wait for the thread to end; for those who closed it and can wait."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None and not self._given_up:
            if job.outcome.set_running_or_notify_cancel():
                self._doing = job
                self._finish(job)
                self._doing, self.deadline = None, math.inf
            with self._lock:
                self._unfinished.pop(job, None)
        self._hang_up()

    def _finish(self, job: Job) -> None:
        try:
            result = self._perform(job)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the job
            with contextlib.suppress(InvalidStateError):  # given up meanwhile: nobody waits
                job.outcome.set_exception(error)
        else:
            with contextlib.suppress(InvalidStateError):
                job.outcome.set_result(result)

    def _perform(self, job: Job) -> Any:
        failures: dict[str, NodeFailed] = {}
        for _ in range(self._attempts):
            url = self._nodes.current if self._node is None else self._node.url
            try:
                node = self._node or self._connect(url)
                job.begun = True
                node.limit(job.limit_s)
                self.deadline = math.inf if job.limit_s is None else self._clock() + job.limit_s + self._grace_s
                return job.work(node)
            except NodeFailed as failure:
                failures[url] = failure
                if self._given_up:
                    break
                self._hang_up()
                self._nodes.leave(url)
                if job.begun and not job.repeat:
                    break
        raise unavailable(list(failures.items()))

    def _connect(self, url: str) -> Node:
        self.deadline = self._clock() + self._connect_s_max + self._grace_s
        node = self._dial(url, self._connect_s_max)
        try:
            self.deadline = self._clock() + self._check_s_max + self._grace_s
            node.limit(self._check_s_max)
            self._check(node)
        except BaseException:
            node.close()
            raise
        with self._lock:
            self._node = node
        return node

    def _hang_up(self) -> None:
        with self._lock:
            node, self._node = self._node, None
        if node is not None:
            node.close()
