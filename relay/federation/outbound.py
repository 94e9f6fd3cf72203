"""The way out to other relays: takes envelopes for twins of theirs into outboxes, and sees that each outbox where
something waits is emptied by one process on this store.

This module refuses to know how an outbox is emptied (`sender`) and where it is kept.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from relay.delivery import PACE_S_MAX
from relay.federation.candidates import Candidates, Tried
from relay.federation.fates import Fates
from relay.federation.health import Health, Pause, State, read_health
from relay.federation.outbox import LIFETIME_S_MAX, Outboxes, OutboxFailed, OutboxFull, View
from relay.federation.places import PlaceRefused
from relay.federation.sender import Observer, Sender
from relay.federation.settings import FederationSettings
from relay.federation.speaker import Speaker
from relay.switch import RETRY_STORE_MS, Refusal
from relay.tasks import end
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.twin import Twin

IDLE_S = 60.0
"""A relay for which nothing waited for so long has no sender any more, and is not looked at; a guess."""

RETRY_FULL_MS = 5000
"""When a full outbox is worth another try; a guess: a relay that takes anything has taken thousands by then."""

FINISH_S_MAX = 3.0
"""How long closing waits for posts that are on their way; a guess. What had no answer is sent again later."""

NAMES_COUNTED_MAX = 99
"""Relays that are counted by name; a guess: the existing network has tens."""

OTHER_NAMES = "other"

_LEASE_PART = 0.8
"""The part of a lease that is used: the rest is for clocks and slow answers."""

_LOG = get_logger("federation")


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """One relay, as metrics show it."""

    name: str
    count: int
    size_bytes: int
    oldest_at_s: float
    state: State
    paused: bool
    health: Health


class Counts(Observer):
    """What has been sent, for metrics."""

    def __init__(self) -> None:
        self.success: dict[str, int] = {}
        self.error: dict[str, int] = {}

    def accepted(self, name: str, count: int) -> None:
        """See `Observer.accepted`."""
        _add(self.success, name, count)

    def failed(self, name: str) -> None:
        """See `Observer.failed`."""
        _add(self.error, name, 1)


def _add(counts: dict[str, int], name: str, count: int) -> None:
    """Strangers choose the names: beyond a number of them all others are one. A counter never goes back."""
    key = name if name in counts or len(counts) < NAMES_COUNTED_MAX else OTHER_NAMES
    counts[key] = counts.get(key, 0) + count


class Federation(Observer):
    """All other relays. Run `run` as a task; `close` before that is cancelled."""

    def __init__(
        self,
        outboxes: Outboxes,
        candidates: Candidates,
        fates: Fates,
        speaker_for: Callable[[str], Speaker],
        settings: FederationSettings,
        *,
        domains: frozenset[str],
        failed: Callable[[str], None],
        table: "HealthTable",
        counts: Counts,
        random: Callable[[], float],
        now_s: Callable[[], float],
    ) -> None:
        """Join what is needed; `opening.open_federation` does it.

        Args:
            outboxes: where envelopes wait.
            candidates: which relay they go to.
            fates: what becomes of those that are not taken.
            speaker_for: makes who speaks to a relay.
            settings: the operator's.
            domains: the names of this relay.
            failed: told of each failure of a relay.
            table: what is known of each relay; kept here.
            counts: what has been sent.
            random: returns numbers in [0, 1).
            now_s: Unix seconds.
        """
        self.counts = counts
        self._outboxes = outboxes
        self._candidates = candidates
        self._fates = fates
        self._speaker_for = speaker_for
        self._settings = settings
        self._domains = domains
        self._failed = failed
        self._table = table
        self._random = random
        self._now_s = now_s
        self._pause = Pause(settings.retry_s_first, settings.retry_s_max)
        self._senders: dict[str, tuple[Sender, asyncio.Task[None]]] = {}
        self._leased_until: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}
        self._count = 0
        self._bytes = 0
        self._kick = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # --- the way in ---------------------------------------------------------------------------------------------------

    def put(self, twin: Twin, data: bytes, expires_at_s: int, *, absent_here: bool = False) -> "asyncio.Future[int]":
        """Take an envelope for a twin that uses other relays.

        Args:
            twin: the destination.
            data: the envelope as it came.
            expires_at_s: Unix seconds.
            absent_here: the twin uses this relay, too, but is not connected here: only others are of use.

        Returns:
            a future, done when the envelope is safe. It fails with `PlaceRefused`, `OutboxFull` or `OutboxFailed`.
        """
        try:
            name = self._candidates.choose(twin, self._now_s())
            self._check_room(name, len(data))
        except (PlaceRefused, OutboxFull) as error:
            refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused
        tried = Tried(refused=self._domains).text() if absent_here else ""
        expires_at_s = min(expires_at_s, int(self._now_s()) + LIFETIME_S_MAX)
        self._count += 1
        self._bytes += len(data)
        put = self._outboxes.put(name, data, expires_at_s, tried)
        put.add_done_callback(partial(self._on_put, name, len(data)))
        return put

    def _on_put(self, name: str, size: int, put: "asyncio.Future[int]") -> None:
        if put.cancelled() or put.exception() is not None:
            self._count -= 1
            self._bytes -= size
        else:
            self._called(name)

    async def forward(self, envelope: Envelope, data: bytes, twin: Twin) -> None:
        """See `telling.ForwardsEnvelopes.forward`."""
        await self.put(twin, data, envelope.timestamp + envelope.expiration)

    def reaches(self, twin: Twin) -> bool:
        """Whether a twin of this relay uses another one, too, that may be spoken to (spec rmb 10.8)."""
        try:
            return bool(self._candidates.permitted(twin))
        except PlaceRefused:
            return False

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._outboxes.has_room()

    async def room(self) -> None:
        """Wait while the store is behind."""
        await self._outboxes.room()

    def pace_s(self, depth: int) -> float:
        """How long a sender should pause after an envelope, when so many wait: a burst is slowed down before the outbox
        is full, as for mailboxes."""
        half = self._settings.entries_max // 2
        return PACE_S_MAX * (depth - half) / (self._settings.entries_max - half) if depth > half else 0.0

    def _check_room(self, name: str, size: int) -> None:
        settings = self._settings
        if self._count >= settings.all_entries_max:
            raise OutboxFull(f"outboxes for other relays are full: {settings.all_entries_max} messages wait")
        if self._bytes + size > settings.all_bytes_max:
            raise OutboxFull(f"outboxes for other relays are full: {settings.all_bytes_max} bytes may wait")
        if name not in self._table.views and len(self._table.views) >= settings.remotes_max:
            raise OutboxFull(f"messages wait for {settings.remotes_max} other relays already")

    # --- who empties what ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at all outboxes, again and again."""
        self._tasks = [asyncio.create_task(self._look_on()), asyncio.create_task(self._listen())]
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await end(self._tasks)

    async def close(self) -> None:
        """Let what is on its way be answered, give the leases back. Closing twice is harmless."""
        await end(self._tasks)
        senders, self._senders = self._senders, {}
        for sender, _ in senders.values():
            sender.finish()
        if senders:
            tasks = [task for _, task in senders.values()]
            await asyncio.wait(tasks, timeout=FINISH_S_MAX)
            await end(tasks)
        for name in senders:
            try:
                await self._outboxes.release(name)
            except OutboxFailed as error:
                event(_LOG, logging.DEBUG, "a lease runs out by itself", relay=name, reason=str(error))

    async def _look_on(self) -> None:
        while True:
            self._kick.clear()
            try:
                await self._look()
            except OutboxFailed as error:
                event(_LOG, logging.WARNING, "cannot look at outboxes", reason=str(error))
            try:
                async with asyncio.timeout(self._settings.look_s):
                    await self._kick.wait()
            except TimeoutError:
                continue

    async def _listen(self) -> None:
        async for name in self._outboxes.calls():
            self._called(name)

    def _called(self, name: str) -> None:
        running = self._senders.get(name)
        if running is not None:
            running[0].wake()
        else:
            self._kick.set()

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        names = (await self._outboxes.names())[: 2 * self._settings.remotes_max]
        asked_s = clock()
        views = dict(zip(names, await self._outboxes.look(names, lease_ms=self._settings.lease_ms), strict=True))
        self._table.update(views)
        self._count = sum(view.count for view in views.values())
        self._bytes = sum(view.size_bytes for view in views.values())
        leased_until = asked_s + _LEASE_PART * self._settings.lease_ms / 1000
        for name in [name for name in self._senders if name not in views or not views[name].mine]:
            await self._end_sender(name)
        for name, view in views.items():
            if view.mine:
                self._leased_until[name] = leased_until
                self._keep_sender(name, view)
            await self._forget_idle(name, view, clock())

    def _keep_sender(self, name: str, view: View) -> None:
        running = self._senders.get(name)
        if running is not None and running[1].done():
            error = None if running[1].cancelled() else running[1].exception()
            event(_LOG, logging.ERROR, "a sender ended, starting another", relay=name, reason=repr(error))
            running = None
        if running is None:
            running = self._senders[name] = self._start_sender(name, view)
        running[0].order(view.orders)
        if view.count:
            running[0].wake()

    def _start_sender(self, name: str, view: View) -> tuple[Sender, "asyncio.Task[None]"]:
        clock = asyncio.get_running_loop().time
        sender = Sender(
            name,
            self._outboxes,
            self._speaker_for(name),
            self._fates,
            health=read_health(view.health, self._now_s(), self._settings.retry_s_max),
            pause=self._pause,
            open_after=self._settings.open_after,
            leased=lambda: clock() < self._leased_until.get(name, 0.0),
            observer=self,
            random=self._random,
            now_s=self._now_s,
        )
        return sender, asyncio.create_task(sender.run(), name=f"relay {name}")

    async def _end_sender(self, name: str) -> None:
        _, task = self._senders.pop(name)
        self._leased_until.pop(name, None)
        self._table.healths.pop(name, None)
        await end([task])

    async def _forget_idle(self, name: str, view: View, now: float) -> None:
        """A relay for which nothing waits is left alone after a while. Its health stays in the store."""
        if view.count or view.orders.paused or (view.owner and not view.mine):
            self._idle_since.pop(name, None)
        elif now - self._idle_since.setdefault(name, now) > IDLE_S:
            del self._idle_since[name]
            if name in self._senders:
                await self._end_sender(name)
                await self._outboxes.release(name)
            await self._outboxes.forget(name)

    # --- what is known ------------------------------------------------------------------------------------------------

    def accepted(self, name: str, count: int) -> None:
        """See `Observer.accepted`."""
        self.counts.accepted(name, count)

    def failed(self, name: str) -> None:
        """See `Observer.failed`."""
        self.counts.failed(name)

    def health_changed(self, name: str, health: Health) -> None:
        """See `Observer.health_changed`."""
        if health.failures:
            self._failed(name)
        self._table.healths[name] = health

    def statuses(self) -> list[RemoteStatus]:
        """Every relay for which something waits, or waited, in alphabetical order."""
        now_s = self._now_s()
        return [
            RemoteStatus(
                name,
                view.count,
                view.size_bytes,
                view.oldest_at_s,
                (health := self._table.health(name)).state(now_s, self._settings.open_after),
                view.orders.paused,
                health,
            )
            for name, view in sorted(self._table.views.items())
        ]


class HealthTable:
    """What this process knows of each relay: from its own sender, or as another process has saved it.

    Attributes:
        views: of the last look.
        healths: of relays that this process speaks to.
    """

    def __init__(self, now_s: Callable[[], float], pause_s_max: float) -> None:
        """Start without knowledge."""
        self.views: dict[str, View] = {}
        self.healths: dict[str, Health] = {}
        self._saved: dict[str, Health] = {}
        self._now_s = now_s
        self._pause_s_max = pause_s_max

    def update(self, views: dict[str, View]) -> None:
        """What the store says now."""
        now_s = self._now_s()
        self.views = views
        self._saved = {name: read_health(view.health, now_s, self._pause_s_max) for name, view in views.items()}

    def health(self, name: str) -> Health:
        """How a relay is doing."""
        return self.healths.get(name) or self._saved.get(name) or _UNKNOWN

    def works(self, name: str) -> bool:
        """Whether nothing is known against it."""
        view = self.views.get(name)
        return not (view and view.orders.paused) and self.health(name).failures == 0

    def doubted_since(self, name: str) -> float | None:
        """When the pause of a relay that failed was over; `None` when it is not, and for one that works."""
        view = self.views.get(name)
        health = self.health(name)
        if health.failures == 0 or (view and view.orders.paused) or self._now_s() < health.retry_at_s:
            return None
        return health.retry_at_s


_UNKNOWN = Health()


def refusal_of(error: BaseException | None) -> Refusal:
    """What a requester is told when an envelope was not taken."""
    if isinstance(error, PlaceRefused):
        return Refusal("foreign", str(error))
    if isinstance(error, OutboxFull):
        return Refusal("outbox_full", f"{error}; try again in {RETRY_FULL_MS // 1000} s", retry_after_ms=RETRY_FULL_MS)
    text = str(error) if isinstance(error, OutboxFailed) else "the relay is shutting down"
    return Refusal("outbox_failed", f"failed to route message to another relay: {text}", retry_after_ms=RETRY_STORE_MS)
