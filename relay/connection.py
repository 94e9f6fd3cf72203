"""A session that speaks rmb.1: one envelope per binary message, in both directions.

Beside the reader (frames go to the intake, pongs to the heartbeat) run the writer (the feed's entries, in order) and,
once they are needed, the replier (envelopes for this connection alone) and the writer of pongs that had to wait. See
`signed_in` for what it shares with rmb.2.

An entry leaves the mailbox only when a pong proves that the client has read it; see `heartbeat`. What was written and
not confirmed when the link breaks is delivered again. The other way round a ping of the client is answered when what
came before it is stored, so that a gateway of ours, which sends again what no pong confirms, loses nothing when the
relay is killed. Other clients get their pongs a moment later, no more.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from relay.attended import Spawn
from relay.bell import Bell
from relay.ends import LOST, NO_ENVELOPE, End
from relay.intake import Intake
from relay.log_lines import printable
from relay.sessions import Session
from relay.signed_in import SignedIn
from relay.tasks import end as end_tasks
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.held_pongs import PINGS_HELD_MAX, HeldPongs

UNCONFIRMED_MAX = 4096
"""Entries written and not confirmed, beyond which nothing more is written; a guess: well below what a mailbox holds,
and with a confirmation every 100 ms still 40,000 a second."""

FLUSH_S_MAX = 1.0
"""At an orderly end, how long the last pong is waited for; a guess."""

PING_EVERY_ENTRIES = 64
PING_EVERY_BYTES = 256 * 1024
"""Within a long run of entries, how often a ping is due, so that a client that never stays long makes progress, too;
guesses."""

REPLIES_MAX = 256
REPLIES_BYTES_MAX = 1024 * 1024
"""Envelopes for this connection alone that wait to be written; while there are as many, it is not read. Guesses."""

REPLIES_HELD_MAX = 16_384
"""Errors about a failing store come later than what they are about; this many are held. A guess: about 4 MB."""

PONG_HELD_S_MAX = 30.0
"""A ping is answered after this time all the same: clients give a connection up after 40 s (spec rmb 5.7). Only a
registry that is away makes an envelope wait for so long."""

REFUSED_AS_NO_ENVELOPE = "no_envelope"
_LOG = get_logger("relay")


class Connection(SignedIn):
    """One session. Call `run` once."""

    def _prepare(self) -> None:
        self._intake: Intake
        self._ponged = Bell()
        self._replies: list[bytes] = []
        self._replies_bytes = 0
        self._replies_in = Bell()
        self._replies_out = Bell()
        self._replying = False
        self._pongs = HeldPongs()
        self._pong_soon = Bell()
        self._ponging = False
        self._holds: list[asyncio.TimerHandle] = []
        """As many as pings may be held: a client that floods us with pings must not cost a timer for each."""

    @property
    def _unconfirmed(self) -> int:
        return self._heartbeat.unconfirmed

    def _left(self) -> None:
        """What was not confirmed is still in the mailbox."""
        while self._holds:
            self._holds.pop(0).cancel()

    def _register(self) -> Session:
        return self._sessions.register(self._owner, self._feed, self._superseded)

    def _begin(self, spawn: Spawn) -> Sequence[Coroutine[None, None, None]]:
        self._intake = Intake(self._owner, self._exchange, self._reply, spawn, self._dealt_with)
        return [self._write()]

    async def _before_page(self) -> None:
        """Nothing is handed over without the mailbox here."""

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def _roomy(self) -> bool:
        return self._intake.roomy() and self._replies_bytes < REPLIES_BYTES_MAX and len(self._replies) < REPLIES_MAX

    async def _room(self) -> None:
        self._reading_paused = True
        await self._intake.room()
        self._reading_paused = False
        await self._replies_room()  # for this the client itself is to blame

    def _frame(self, data: bytes) -> End | None:
        try:
            self._intake.frame(data)
        except InvalidPayloadData:
            self._exchange.metrics.refusals[REFUSED_AS_NO_ENVELOPE] += 1
            return NO_ENVELOPE
        return None

    async def _late_frame(self, data: bytes) -> None:
        await self._intake.room()
        self._frame(data)

    async def _answer_ping(self, payload: bytes) -> None:
        before = self._intake.frames
        self._pongs.pinged(before, payload)
        if self._pongs.answerable():
            await self._send_pongs()
            return
        if len(self._holds) == PINGS_HELD_MAX:
            self._holds.pop(0).cancel()
        self._holds.append(self._loop.call_later(PONG_HELD_S_MAX, self._hold_no_longer, before))

    def _dealt_with(self, number: int) -> None:
        self._pongs.dealt_with(number)
        if self._pongs.answerable():
            self._answer_soon()

    def _hold_no_longer(self, messages: int) -> None:
        self._pongs.hold_no_longer(messages)
        if self._pongs.answerable():
            self._answer_soon()

    def _answer_soon(self) -> None:
        self._pong_soon.set()
        if not self._ponging and not self._ended.done():
            self._ponging = True  # most clients never get that far: tasks are what a session costs
            self._help(self._write_pongs())

    def _on_pong(self, payload: bytes) -> None:
        confirmed = self._heartbeat.pong(payload)
        if confirmed:
            metrics, now_ms = self._exchange.metrics, int(self._exchange.now_s() * 1000)
            metrics.confirmations += len(confirmed)
            for entry_id in confirmed:
                metrics.confirmed.add(now_ms - entry_id[0])
            deleted = self._mailboxes.delete(self._owner, confirmed)
            deleted.add_done_callback(lambda _: self._feed.forget(confirmed))
        self._ponged.set()
        self._calm_down()

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        written, now_s = self._exchange.metrics.written, self._exchange.now_s
        while True:
            while self._heartbeat.unconfirmed >= UNCONFIRMED_MAX:
                self._ponged.clear()
                await self._ponged.wait()
            entries = await self._feed.take()
            run_entries = run_bytes = 0
            for entry in entries:
                if not await self._send(entry.data, more=True):
                    return
                self._heartbeat.wrote(entry.id)
                written.add(int(now_s() * 1000) - entry.id[0])
                if _LOG.isEnabledFor(logging.DEBUG):
                    stream_id = f"{entry.id[0]}-{entry.id[1]}"
                    event(_LOG, logging.DEBUG, "written", id=stream_id, destination=printable(self._owner))
                run_entries += 1
                run_bytes += len(entry.data)
                if run_entries >= PING_EVERY_ENTRIES or run_bytes >= PING_EVERY_BYTES:
                    run_entries = run_bytes = 0
                    await self._ping_if_due()
            await self._ping_if_due()

    async def _send(self, data: bytes, *, more: bool) -> bool:
        """Write an envelope; false when the connection is gone. See `ClientSocket.send` for `more`."""
        try:
            await self._socket.send(data, more=more)
        except ConnectionError:
            self._end(LOST)
            return False
        self._exchange.metrics.message_tx += 1
        self._exchange.metrics.message_tx_bytes += len(data)
        return True

    def _reply(self, data: bytes) -> None:
        """Queue an envelope for this connection alone."""
        if self._ended.done() or len(self._replies) >= REPLIES_HELD_MAX:
            self._exchange.metrics.replies_dropped += 1
            return
        self._replies.append(data)
        self._replies_bytes += len(data)
        self._replies_in.set()
        if not self._replying:
            self._replying = True
            self._help(self._write_replies())

    async def _write_replies(self) -> None:
        while True:
            while self._replies:
                data = self._replies.pop(0)
                if not await self._send(data, more=bool(self._replies)):
                    return
                self._replies_bytes -= len(data)
                self._replies_out.set()
            self._replies_in.clear()
            await self._replies_in.wait()

    async def _write_pongs(self) -> None:
        while True:
            self._pong_soon.clear()
            await self._send_pongs()
            await self._pong_soon.wait()

    async def _send_pongs(self) -> None:
        for payload in self._pongs.take_answerable():
            await self._pong(payload)

    async def _replies_room(self) -> None:
        while len(self._replies) >= REPLIES_MAX or self._replies_bytes >= REPLIES_BYTES_MAX:
            self._replies_out.clear()
            await self._replies_out.wait()

    async def _ping_if_due(self) -> None:
        if not self._heartbeat.waiting and (payload := self._due_ping()) is not None:
            await self._ping(payload)
        else:
            self._socket.flush()
        self._arm()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _wind_up(self, end: End, reader: "asyncio.Task[None]", helpers: "list[asyncio.Task[None]]") -> None:
        await end_tasks(helpers)
        if end.flush:
            await self._flush(reader)

    async def _flush(self, reader: "asyncio.Task[None]") -> None:
        """Wait a moment for the pong that confirms what has been written; the reader is still running."""
        reader.add_done_callback(lambda _: self._ponged.set())
        try:
            async with asyncio.timeout(FLUSH_S_MAX):
                while self._heartbeat.unconfirmed and not reader.done():
                    self._ponged.clear()
                    if not self._heartbeat.waiting:
                        await self._ping(self._heartbeat.ping(self._loop.time()))
                    await self._ponged.wait()
        except TimeoutError:
            event(_LOG, logging.DEBUG, "no last pong", session=printable(self._owner))
