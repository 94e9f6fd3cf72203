"""Presence in Redis or Valkey: hash `relay.presence:{<twin>}`, session to process, registration and a count.

What a process has to say about its sessions travels in batches, in order: sessions that came, sessions that went, and
checks. A check finds out whether a session still has its place, and whether something was appended that it has not
heard of. All sessions are checked

- when the channel on which others tell us things was connected, again or for the first time: what was said in between
  is lost;
- when others had declared us dead;
- every few seconds while others live, for whatever else can be lost.

So telling is quick, and nothing depends on it.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from relay.batcher import Batcher
from relay.horizon import UNKNOWN, Horizon
from relay.keys import PROCESSES_CHANNEL, presence_field, presence_key, process_channel
from relay.log_lines import printable
from relay.members import Beat, Members
from relay.presence_script import ELSEWHERE, ENTRY_SECONDS, KEEP, RESTORED
from relay.process_settings import Timing
from relay.sessions import Session, Sessions
from relay.store import STORE_ERRORS, Store, by_group, is_cluster, says_no
from relay.tasks import end
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address

CHECK_ALONE_S = 3600.0
"""How often the sessions of a process that is alone are checked: its entries in the store are renewed."""

CHECKS_PER_S_MAX = 1000
"""With many sessions checking takes longer, so that it costs little; a guess."""

KNOWN_S = 0.25
"""How long it is believed where a twin's sessions are, once asked; a guess: it bounds the questions about one twin."""

KNOWN_MAX = 10_000
"""Twins about which this is remembered."""

BATCH_ITEMS_MAX = 500
RETRY_S_FIRST = 0.05
RETRY_S_MAX = 1.0
CLOSE_S_MAX = 2.0
"""How long closing waits for the store; a guess."""

_LOG = get_logger("relay.presence")

Act = Literal["enter", "leave", "check"]


class PresenceClosed(Exception):
    """The relay is shutting down."""


@dataclass(frozen=True, slots=True)
class _Said:
    act: Act
    session: Session


class RedisPresence:
    """`Presence` on a server or a cluster. `start`, then run `run` as a task."""

    def __init__(
        self,
        store: Store,
        news: Callable[[], Redis],
        sessions: Sessions,
        horizon: Horizon,
        *,
        process: str,
        timing: "Timing | None" = None,
    ) -> None:
        """Set up; nothing is said before `start`.

        Args:
            store: the connection; not owned.
            news: makes a connection on which to wait for what others say.
            sessions: who is connected to this process.
            horizon: numbers senders that may have come from another process.
            process: a name that no other process on this store uses, now or before.
            timing: how often what is done.
        """
        self._store: Any = store  # the types of both clients' commands differ without need
        self._news = news
        self._cluster = is_cluster(store)
        self._sessions = sessions
        self._horizon = horizon
        self._process = process
        timing = timing or Timing()
        self._beat_s = timing.beat_s
        self._check_s = timing.check_s
        self._members = Members(store, process, life_s=timing.life_s)
        self._keep = self._store.register_script(KEEP)
        self._others: frozenset[str] = frozenset()
        self._alone_joins: int | None = None
        """The number of beginnings at which it was certain that there are no others."""
        self._known: dict[int, tuple[float, frozenset[str]]] = {}
        """Twin to when it was asked for, and the fields of its sessions that are connected to others that live."""
        self._beat_soon = asyncio.Event()
        self._check_soon = asyncio.Event()
        self._heard = asyncio.Event()
        self._closing = asyncio.Event()
        self._now_s = asyncio.get_running_loop().time
        self._said: Batcher[_Said, int] = Batcher(
            self._say,
            lambda item: 0,
            PresenceClosed,
            batch_items_max=BATCH_ITEMS_MAX,
            batch_bytes_max=1,
            held_items_max=BATCH_ITEMS_MAX,
            held_bytes_max=1,
        )

    # --- the contract -------------------------------------------------------------------------------------------------

    @property
    def others(self) -> bool:
        """See `Presence.others`."""
        return bool(self._others)

    def enter(self, session: Session) -> "asyncio.Future[None]":
        """See `Presence.enter`."""
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_said(said: "asyncio.Future[int]") -> None:
            _look_at(said)
            if not entered.done():
                entered.set_result(None)

        self._said.submit(_Said("enter", session)).add_done_callback(on_said)
        return entered

    def leave(self, session: Session) -> None:
        """See `Presence.leave`."""
        self._said.submit(_Said("leave", session)).add_done_callback(_look_at)

    def peek(self, owner: Address) -> bool | None:
        """See `Presence.peek`."""
        if not self._others:
            return False
        asked_s, elsewhere = self._known.get(owner.twin, (-KNOWN_S, frozenset()))
        if self._now_s() - asked_s > KNOWN_S:
            return None
        return presence_field(owner.session) in elsewhere

    async def ask(self, twin: int) -> None:
        """See `Presence.ask`."""
        try:
            entries = await self._store.hgetall(presence_key(twin))
        except STORE_ERRORS as error:
            event(_LOG, logging.WARNING, "cannot ask where a twin is", twin=twin, reason=type(error).__name__)
            return
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        there = {field.decode(): entry.partition(b":")[0].decode() for field, entry in entries.items()}
        elsewhere = frozenset(field for field, process in there.items() if process in self._others)
        self._known[twin] = (self._now_s(), elsewhere)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the others. No session may be entered before.

        Raises:
            RedisError, OSError: the store does not answer.
        """
        self._took(await self._members.beat(joining=True))

    async def run(self) -> None:
        """Say that we live, hear what others say, until `close`."""
        async with asyncio.TaskGroup() as tasks:
            work = (self._said.run(), self._beats(), self._listen(), self._checks())
            workers = [tasks.create_task(item) for item in work]
            await self._closing.wait()
            await end(workers)

    async def listens(self) -> None:
        """Wait until others can tell us things."""
        await self._heard.wait()

    async def close(self) -> None:
        """Say what is left to say, and that we end. Closing twice is harmless."""
        if self._closing.is_set():
            return
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._said.idle()
                await self._members.leave()
        except (*STORE_ERRORS, TimeoutError) as error:
            event(_LOG, logging.WARNING, "the others will find out that we ended", reason=type(error).__name__)
        self._closing.set()

    # --- what we say --------------------------------------------------------------------------------------------------

    async def _say(self, batch: Sequence[_Said]) -> list[int | Exception]:
        pause_s = RETRY_S_FIRST
        while True:
            try:
                results = await by_group(batch, self._group_of, self._say_group)
                await self._date([item.session for item in batch if item.act != "leave"])
                break
            except STORE_ERRORS as error:
                if says_no(error):  # such as a full store; checking later may help
                    event(_LOG, logging.ERROR, "the store does not keep who is connected", reason=str(error))
                    return [error for _ in batch]
                event(_LOG, logging.WARNING, "the store does not answer, trying again", reason=type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)
        for item, result in zip(batch, results, strict=True):
            self._took_place(item, result)
        return list(results)

    def _group_of(self, item: _Said) -> Hashable:
        return item.session.owner.twin if self._cluster else None

    async def _say_group(self, batch: Sequence[_Said]) -> list[int]:
        arguments: list[Any] = [self._process, ENTRY_SECONDS, " ".join((self._process, *self._others))]
        for item in batch:
            session = item.session
            owner = session.owner
            # Whoever has lost its place here since, or on the first attempt, must not take it back.
            gone = item.act != "leave" and self._sessions.get(owner) is not session
            act = "leave" if gone else item.act
            arguments += (act, presence_field(owner.session), session.generation, session.feed.foreign, str(owner))
        keys = [presence_key(item.session.owner.twin) for item in batch]
        return [int(result) for result in await self._keep(keys=keys, args=arguments)]

    async def _date(self, sessions: list[Session]) -> None:
        """Give numbers to those who came: they may have been elsewhere a moment ago, unless there is no elsewhere."""
        new = [session for session in sessions if session.since == UNKNOWN]
        if not new:
            return
        alone = await self._members.joins() == self._alone_joins
        since = self._horizon.floor if alone else self._horizon.next()
        for session in new:
            session.since = since

    def _took_place(self, item: _Said, result: int) -> None:
        session = item.session
        if item.act == "leave" or self._sessions.get(session.owner) is not session:
            return
        if result == ELSEWHERE:
            self._supersede(session)
        elif result == RESTORED:
            session.feed.rewind()
        else:
            session.feed.poke(result)

    def _supersede(self, session: Session) -> None:
        event(_LOG, logging.INFO, "superseded by another process", session=printable(session.owner))
        self._sessions.unregister(session)
        session.supersede()

    # --- who lives ----------------------------------------------------------------------------------------------------

    async def _beats(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._beat_s):
                    await self._beat_soon.wait()
            except TimeoutError:
                pass
            self._beat_soon.clear()
            try:
                beat = await self._members.beat()
            except STORE_ERRORS as error:
                event(_LOG, logging.DEBUG, "cannot say that we live", reason=type(error).__name__)
                continue
            if not beat.lived:
                event(_LOG, logging.WARNING, "others took this process for dead", sessions=len(self._sessions))
                self._check_soon.set()
            self._took(beat)

    def _took(self, beat: Beat) -> None:
        if beat.others != self._others:
            event(_LOG, logging.INFO, "processes on this store", others=len(beat.others))
            if beat.others - self._others:
                self._check_soon.set()  # what the checks renew every hour is now worth being checked
        self._others = beat.others
        if beat.others or self._alone_joins == beat.joins:
            return
        if self._alone_joins is not None or self._horizon.now:
            self._horizon.became_alone()
        self._alone_joins = beat.joins

    # --- what others say ----------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        pause_s = RETRY_S_FIRST
        while True:
            client: Any = self._news()
            channels = client.pubsub()
            try:
                await channels.subscribe(process_channel(self._process), PROCESSES_CHANNEL)
                while True:
                    news = await channels.get_message(timeout=None)
                    pause_s = RETRY_S_FIRST
                    if news is None:
                        continue
                    if news["type"] == "subscribe":  # the library says so after each time that it connected
                        self._heard.set()
                        self._check_soon.set()
                    elif news["channel"] == PROCESSES_CHANNEL.encode():
                        self._beat_soon.set()
                    else:
                        self._took_news(news["data"])
            except STORE_ERRORS as error:
                event(_LOG, logging.WARNING, "cannot hear other processes", reason=type(error).__name__)
            finally:
                await channels.aclose()
                await client.aclose()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    def _took_news(self, data: bytes) -> None:
        """`more <registration> <foreign> <owner>`, or `gone <registration> 0 <owner>`."""
        try:
            what, registration, foreign, owner_text = data.decode().split(" ", 3)
            session = self._sessions.get(Address.parse(owner_text))
            number, count = int(registration), int(foreign)
        except ValueError:
            event(_LOG, logging.WARNING, "another process said something that is not understood")
            return
        if session is None or session.generation != number:
            return
        if what == "more":
            session.feed.poke(count)
        elif what == "gone":
            self._supersede(session)

    # --- what could be lost -------------------------------------------------------------------------------------------

    async def _checks(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._check_s if self._others else CHECK_ALONE_S):
                    await self._check_soon.wait()
            except TimeoutError:
                pass
            self._check_soon.clear()
            await self._check()

    async def _check(self) -> None:
        sessions = tuple(self._sessions)
        for start in range(0, len(sessions), BATCH_ITEMS_MAX):
            chunk = sessions[start : start + BATCH_ITEMS_MAX]
            said = [self._said.submit(_Said("check", session)) for session in chunk]
            await asyncio.gather(*said, return_exceptions=True)
            if start + BATCH_ITEMS_MAX < len(sessions):
                await asyncio.sleep(BATCH_ITEMS_MAX / CHECKS_PER_S_MAX)


def _look_at(said: "asyncio.Future[int]") -> None:
    """Nobody waits for these; what failed has been logged, or we are shutting down."""
    if not said.cancelled():
        said.exception()
