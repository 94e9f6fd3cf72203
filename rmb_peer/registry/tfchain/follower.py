"""Follows the chain's best blocks on a thread of its own, and tells what they say about twins.

A subscription occupies its connection (spec tfchain 11), so this has one, apart from that of the look-ups. What to do
about a head is decided by `following`; here are the thread, the node, reconnecting, and the way back into the event
loop. This module refuses to know what a listener does with the news.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from rmb_peer.logs import event, get_logger
from rmb_peer.registry.tfchain.block_events import EventReader, EventsMissing, EventsUnreadable, TwinEvent
from rmb_peer.registry.tfchain.connection import CONNECT_S_MAX, accept_any, dial_node
from rmb_peer.registry.tfchain.errors import NodeFailed, NodeRefused
from rmb_peer.registry.tfchain.following import Ask, Decision, Flush, Following, Replay
from rmb_peer.registry.tfchain.header import BadHeader, Header, read_header
from rmb_peer.registry.tfchain.node import Node
from rmb_peer.registry.tfchain.urls import shown_url
from rmb_peer.registry.tfchain.worker import Check, Dial, Nodes

ANSWER_S_MAX = 10.0
"""Limit for the questions about one block; a guess, as for look-ups."""

PAUSE_S_FIRST, PAUSE_S_MAX = 1.0, 6.0
"""Between attempts to connect, doubling, as in the Rust relay (spec rmb 7.5)."""

CLOSE_S_MAX = 2.0
"""Longest wait for the thread when stopping; a guess."""

_LOG = get_logger("chain")

Stage = Literal["decode", "cache_set"]


class ChainListener(Protocol):
    """Who is told. All methods are called in the event loop, in the order of what happened."""

    def twin_changed(self, news: TwinEvent) -> None:
        """A block of the best chain says so."""
        ...

    def twins_doubtful(self, twins: frozenset[int]) -> None:
        """What was told about these twins came from blocks that are not part of the best chain any more."""
        ...

    def all_doubtful(self) -> None:
        """Changes may have been missed, of any twin."""
        ...

    def block_done(self, number: int) -> None:
        """Everything up to this block has been told."""
        ...

    def failed(self, stage: Stage) -> None:
        """The events of a block could not be used."""
        ...

    def reconnecting(self, now: bool) -> None:
        """The connection was lost (`True`; once per attempt to get a new one), or there is one again (`False`)."""
        ...


class ChainFollower:
    """The thread. `start`, then `stop`; once."""

    def __init__(
        self,
        urls: Sequence[str],
        listener: ChainListener,
        *,
        following: Following,
        check: Check = accept_any,
        dial: Dial = dial_node,
        connect_s_max: float = CONNECT_S_MAX,
        pause_s: tuple[float, float] = (PAUSE_S_FIRST, PAUSE_S_MAX),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            urls: nodes of one chain, preferred first.
            listener: who is told.
            following: decides; it knows the limits.
            check: looks at a node that has just been connected; raises `NodeFailed` to reject it.
            dial: connects to a URL within some seconds.
            connect_s_max: longest time for one attempt to connect.
            pause_s: first and longest pause between attempts.
            clock: monotonic seconds.
        """
        self._nodes = Nodes(urls)
        self._listener = listener
        self._following = following
        self._check, self._dial = check, dial
        self._connect_s_max = connect_s_max
        self._pause_s = pause_s
        self._clock = clock
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._node: Node | None = None
        self._warned = False
        self._progress = False
        self._lost = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="tfchain follower", daemon=True)

    def start(self) -> None:
        """Begin; call it in the event loop in which the listener lives."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End; the listener hears nothing after this."""
        with self._lock:
            self._stopping.set()
            node = self._node
        if node is not None:
            node.abort()
        await asyncio.to_thread(self._thread.join, CLOSE_S_MAX)

    # --- everything below runs on the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = self._pause_s[0]
        while not self._stopping.is_set():
            url = self._nodes.current
            self._progress = False
            try:
                self._follow_node(url)
            except (NodeFailed, NodeRefused) as failure:
                if self._stopping.is_set():
                    return
                self._nodes.leave(url)
                self._say_lost(url, failure)
            if self._progress:
                pause_s = self._pause_s[0]
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, self._pause_s[1])

    def _follow_node(self, url: str) -> None:
        node = self._connect(url)
        try:
            with self._lock:
                self._node = node
            if not self._stopping.is_set():
                self._follow(node)
        finally:
            with self._lock:
                self._node = None
            node.close()

    def _connect(self, url: str) -> Node:
        started = self._clock()
        node = self._dial(url, self._connect_s_max)
        try:
            node.limit(max(self._connect_s_max - (self._clock() - started), 0.0))
            self._check(node)
        except BaseException:
            node.close()
            raise
        return node

    def _follow(self, node: Node) -> None:
        following = self._following
        reader = EventReader(node)

        def on_update(value: Any, _subscription: str) -> Literal[True] | None:
            if self._stopping.is_set():
                return True
            self._take_over(node, reader, following.on_head(_header(value)))
            self._say_found(node)
            self._wait(node)
            return None

        following.connected()
        self._wait(node)
        try:
            node.subscribe("chain_subscribeNewHeads", [], on_update)
        except NodeFailed as failure:
            if following.patience_s() <= 0:
                raise NodeFailed("no new block for too long") from failure
            raise

    def _wait(self, node: Node) -> None:
        node.limit(max(self._following.patience_s(), 0.0))

    def _take_over(self, node: Node, reader: EventReader, decision: Decision) -> None:
        while not self._stopping.is_set():
            node.limit(ANSWER_S_MAX)
            if isinstance(decision, Ask):
                decision = self._ask(node, decision.hash)
            elif isinstance(decision, Replay):
                if decision.forget:
                    self._tell(self._listener.twins_doubtful, decision.forget)
                rest = self._replay(node, reader, decision.blocks)
                if rest is None:
                    return
                decision = rest
            else:
                if isinstance(decision, Flush):
                    self._flush(decision)
                return

    def _ask(self, node: Node, block_hash: str) -> Decision:
        try:
            value = node.request("chain_getHeader", block_hash)
        except NodeRefused:
            value = None
        return self._following.on_missing() if value is None else self._following.on_header(_header(value))

    def _replay(self, node: Node, reader: EventReader, blocks: Sequence[Header]) -> Decision | None:
        for block in blocks:
            if self._stopping.is_set():
                return None
            node.limit(ANSWER_S_MAX)
            try:
                news = reader.read(block)
            except EventsMissing:
                return self._following.on_missing()
            except EventsUnreadable as error:
                event(_LOG, logging.WARNING, "events cannot be read", block=block.number, reason=str(error))
                self._tell(self._listener.failed, "decode")
                return self._following.on_unreadable()
            for one in news:
                self._tell(self._listener.twin_changed, one)
            self._following.on_replayed(block, frozenset(one.twin.id for one in news))
            self._done(block)
        return None

    def _flush(self, decision: Flush) -> None:
        event(_LOG, logging.INFO, "remembered twins are doubtful", reason=decision.reason, block=decision.at.number)
        self._tell(self._listener.all_doubtful)
        self._done(decision.at)

    def _done(self, block: Header) -> None:
        self._progress = True
        self._tell(self._listener.block_done, block.number)

    def _say_lost(self, url: str, failure: Exception) -> None:
        level = logging.DEBUG if self._warned and not self._progress else logging.WARNING
        event(_LOG, level, "the chain cannot be followed", node=shown_url(url), reason=str(failure))
        self._warned = self._lost = True
        self._tell(self._listener.reconnecting, True)

    def _say_found(self, node: Node) -> None:
        if self._lost:
            self._lost = False
            self._tell(self._listener.reconnecting, False)
        if self._warned and self._progress:
            self._warned = False
            event(_LOG, logging.INFO, "the chain is followed again", node=shown_url(node.url))

    def _tell(self, listener: Callable[..., None], *news: Any) -> None:
        """Hand news to the event loop, in order."""
        assert self._loop is not None
        with self._lock:
            if not self._stopping.is_set():
                with contextlib.suppress(RuntimeError):  # the loop was closed without `stop`
                    self._loop.call_soon_threadsafe(self._deliver, listener, news)

    def _deliver(self, listener: Callable[..., None], news: tuple[Any, ...]) -> None:
        if not self._stopping.is_set():
            listener(*news)


def _header(value: Any) -> Header:
    try:
        return read_header(value)
    except BadHeader as error:
        raise NodeFailed(f"it sent a header that cannot be used: {error}") from None
