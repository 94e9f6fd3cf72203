"""Empties the outbox of one relay: oldest first, as fast as the relay takes it, and patiently when it does not.

Each relay has a sender of its own, so one that is sick delays nobody else. When a relay fails as a whole, everything
that can go by another one leaves (`fates`), the rest waits, and a few envelopes try the relay after pauses that grow
(`health`). When only what is for one destination fails, that destination waits by itself. An envelope whose time is
over while it waits leaves then, and its sender hears so.

This module refuses to know how relays are spoken to, and what becomes of what they do not take.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence

from relay.federation.fates import Fates
from relay.federation.health import Health, Pause, State
from relay.federation.outbox import START, Orders, Outboxes, OutboxFailed
from relay.federation.post_speaker import twin_of
from relay.federation.speaker import Accepted, Outcome, Queued, Refused, Speaker, TryAgain
from rmb_peer.logs import event, get_logger
from rmb_peer.registry.lru import Lru

PROBES = 3
"""Destinations that try a relay which failed; a guess: one of them might be the only thing that is wrong."""

HELD_MAX = 1000
"""Destinations of one relay that wait by themselves; with more the relay counts as failing. A guess."""

STORE_RETRY_S = 1.0
"""Pause when the store does not answer; a guess."""

SLEEP_S_MAX = 60.0
"""Longest sleep, since clocks may be set; a guess."""

ONE_DESTINATION = frozenset({"failing", "garbage"})
"""Reasons that may concern one destination only, such as its full mailbox; all others concern the whole relay."""

_LOG = get_logger("federation")


class Observer:
    """What others want to know of a sender; this one does not."""

    def accepted(self, name: str, count: int) -> None:
        """The relay has taken envelopes."""

    def failed(self, name: str) -> None:
        """An attempt failed or was refused (`federation_message_error`, spec rmb 6.11)."""

    def health_changed(self, name: str, health: Health) -> None:
        """The relay is better or worse."""


class Sender:
    """For one relay. Run `run` as a task while the lease of its outbox is ours.

    Attributes:
        name: of the relay.
        health: how it is doing.
        idle: whether nothing was left to do when it last looked.
    """

    def __init__(
        self,
        name: str,
        outboxes: Outboxes,
        speaker: Speaker,
        fates: Fates,
        *,
        health: Health,
        pause: Pause,
        open_after: int,
        leased: Callable[[], bool],
        observer: Observer,
        random: Callable[[], float],
        now_s: Callable[[], float],
    ) -> None:
        """Set up.

        Args:
            name: of the relay, normalised.
            outboxes: where envelopes wait.
            speaker: speaks to the relay; it is closed here at the end.
            fates: decides on what the relay does not take.
            health: what is known from before.
            pause: between attempts.
            open_after: failures in a row after which there are probes only.
            leased: whether the outbox is certainly ours.
            observer: hears what happens.
            random: returns numbers in [0, 1).
            now_s: Unix seconds.
        """
        self.name = name
        self.health = health
        self.idle = False
        self._outboxes = outboxes
        self._speaker = speaker
        self._fates = fates
        self._pause = pause
        self._open_after = open_after
        self._leased = leased
        self._observer = observer
        self._random = random
        self._now_s = now_s
        self._orders = Orders()
        self._cursor = START
        self._swept = START
        self._expires_at_s = math.inf
        self._trouble: TryAgain | None = None
        if health.failures:
            self._trouble = TryAgain(health.reason, health.error)
        self._held: dict[int, float] = {}
        """Destinations that wait by themselves, and until when."""
        self._strikes: Lru[int, int] = Lru(HELD_MAX)
        """How often in a row each of them failed."""
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something was put into the outbox."""
        self._wake.set()

    def order(self, orders: Orders) -> None:
        """What the operator wants now."""
        if orders != self._orders:
            self._orders = orders
            self._wake.set()

    def finish(self) -> None:
        """Stop after what is under way."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Until `finish`, or cancelled."""
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._step()
                except OutboxFailed as error:
                    event(_LOG, logging.WARNING, "cannot work on an outbox", relay=self.name, reason=str(error))
                    await asyncio.sleep(STORE_RETRY_S)
        finally:
            await self._speaker.close()

    async def _step(self) -> None:
        """One look at what there is to do; it sleeps when there is nothing."""
        await self._obey()
        now_s = self._now_s()
        if not self._leased():
            await self._sleep(now_s + STORE_RETRY_S)
        elif self._orders.paused:
            await self._wait(math.inf, None)
        elif now_s < self.health.retry_at_s:
            await self._wait(self.health.retry_at_s, self._trouble)
        else:
            await self._send(now_s)

    async def _obey(self) -> None:
        orders = self._orders
        if not (orders.retry or orders.drain):
            return
        if orders.drain:
            await self._drain()
        if orders.retry:
            self._held.clear()
            await self._set_health(self.health.at_once())
        self._from_start()
        await self._outboxes.obeyed(self.name)
        if self._orders == orders:
            self._orders = Orders(paused=orders.paused)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, now_s: float) -> None:
        self._end_holds(now_s)
        if now_s >= self._expires_at_s:
            self._from_start()
        page = await self._outboxes.read(self.name, self._cursor)
        if page.last == self._cursor:
            self.idle = not self._held
            await self._sleep(min(self._expires_at_s, self._next_hold_s()))
            return
        self.idle = False
        gone, batch = list(page.damaged), []
        for queued in page.entries:
            if queued.expires_at_s <= now_s:
                if await self._fates.expired(queued):
                    gone.append(queued.id)
            elif self._held and twin_of(queued.data) in self._held:
                self._expires_at_s = min(self._expires_at_s, queued.expires_at_s)
            else:
                batch.append(queued)
        await self._remove(gone)
        self._cursor = page.last
        if self.health.state(now_s, self._open_after) is not State.CLOSED:
            batch = self._probes(batch)
            if batch:
                self._cursor = START
        if batch and self._leased():
            await self._conclude(batch, await self._speaker.deliver(batch))

    def _end_holds(self, now_s: float) -> None:
        """Whoever has waited long enough is tried again, from the oldest envelope on."""
        over = [twin for twin, until_s in self._held.items() if until_s <= now_s]
        for twin in over:
            del self._held[twin]
        if over:
            self._from_start()

    def _probes(self, batch: list[Queued]) -> list[Queued]:
        """The oldest envelope of each of a few destinations, chosen at random: the oldest of all might be the only
        thing that is wrong."""
        first = {twin_of(queued.data): queued for queued in reversed(batch)}
        chosen = sorted(first.values(), key=lambda queued: self._random())[:PROBES]
        ids = {queued.id for queued in chosen}
        return [queued for queued in batch if queued.id in ids]

    async def _conclude(self, batch: Sequence[Queued], outcomes: Sequence[Outcome]) -> None:
        gone: list[str] = []
        troubles: list[tuple[Queued, TryAgain]] = []
        accepted = refused = 0
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                accepted += 1
                gone.append(queued.id)
                if len(self._strikes):
                    self._strikes.drop(twin_of(queued.data))
            elif isinstance(outcome, TryAgain):
                troubles.append((queued, outcome))
        if accepted:
            self._observer.accepted(self.name, accepted)
        await self._remove(gone)
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refused):
                refused += 1
                self._observer.failed(self.name)
                if await self._fates.refused(self.name, queued, outcome):
                    await self._remove([queued.id])
        if troubles:
            self._observer.failed(self.name)
        whole = next((trouble for _, trouble in troubles if trouble.reason not in ONE_DESTINATION), None)
        if whole is None and troubles and (not (accepted or refused) or len(self._held) >= HELD_MAX):
            whole = troubles[0][1]
        if whole is not None:
            await self._fail(whole)
            return
        await self._set_health(self.health.succeeded())
        for queued, trouble in troubles:
            await self._hold(queued, trouble)

    async def _fail(self, trouble: TryAgain) -> None:
        """The whole relay is in trouble."""
        self._trouble = trouble
        now_s = self._now_s()
        before = self.health
        health = before.failed(now_s, trouble.reason, trouble.text, self._pause, self._random, trouble.after_s)
        if before.failures == 0:
            event(_LOG, logging.WARNING, "relay fails", relay=self.name, reason=trouble.text)
        await self._set_health(health)
        self._from_start()

    async def _hold(self, queued: Queued, trouble: TryAgain) -> None:
        """One destination is in trouble; what is for it leaves by another relay, or waits by itself."""
        if await self._fates.failing(self.name, queued, trouble, whole=False):
            await self._remove([queued.id])
            return
        now_s = self._now_s()
        twin = twin_of(queued.data)
        self._expires_at_s = min(self._expires_at_s, queued.expires_at_s)
        if twin in self._held:
            return
        strikes = self._strikes.get(twin) or 0
        health = Health(strikes).failed(now_s, "", "", self._pause, self._random, trouble.after_s)
        self._strikes.put(twin, health.failures)
        self._held[twin] = health.retry_at_s

    def _next_hold_s(self) -> float:
        return min(self._held.values(), default=math.inf)

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def _wait(self, until_s: float, trouble: TryAgain | None) -> None:
        """While nothing is sent: what came since leaves if it can, what is over leaves."""
        if self._now_s() >= self._expires_at_s:
            self._from_start()
        while True:
            page = await self._outboxes.read(self.name, self._swept)
            if page.last == self._swept:
                break
            gone = list(page.damaged)
            for queued in page.entries:
                if await self._leaves(queued, trouble):
                    gone.append(queued.id)
                else:
                    self._expires_at_s = min(self._expires_at_s, queued.expires_at_s)
            await self._remove(gone)
            self._swept = page.last
        self.idle = False
        await self._sleep(min(until_s, self._expires_at_s))

    async def _leaves(self, queued: Queued, trouble: TryAgain | None) -> bool:
        if queued.expires_at_s <= self._now_s():
            return await self._fates.expired(queued)
        return trouble is not None and await self._fates.failing(self.name, queued, trouble, whole=True)

    async def _drain(self) -> None:
        """What waits leaves by another relay or is given up, because the operator says so."""
        text = f"relay {self.name} was given up by the operator of the sender's relay"
        after = START
        while True:
            page = await self._outboxes.read(self.name, after)
            if page.last == after:
                return
            for queued in page.entries:
                await self._fates.refused(self.name, queued, Refused("drained", text))
            await self._remove([*page.damaged, *(queued.id for queued in page.entries)])
            after = page.last

    # --- small things -------------------------------------------------------------------------------------------------

    def _from_start(self) -> None:
        """Look at everything again."""
        self._cursor = self._swept = START
        self._expires_at_s = math.inf

    async def _set_health(self, health: Health) -> None:
        if health == self.health:
            return
        if self.health.failures and not health.failures:
            event(_LOG, logging.INFO, "relay works again", relay=self.name)
            self._trouble = None
        self.health = health
        self._observer.health_changed(self.name, health)
        await self._outboxes.save(self.name, health.text())

    async def _remove(self, ids: list[str]) -> None:
        """What has an end leaves before anything else happens, or it would be sent again."""
        while ids:
            try:
                await self._outboxes.remove(self.name, ids)
                return
            except OutboxFailed as error:
                event(_LOG, logging.WARNING, "cannot empty an outbox", relay=self.name, reason=str(error))
                await asyncio.sleep(STORE_RETRY_S)

    async def _sleep(self, until_s: float) -> None:
        """Until then, or until something happens."""
        pause_s = min(until_s - self._now_s(), SLEEP_S_MAX)
        if pause_s <= 0 or self._stopping:
            return
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return
