"""Waits for messages, runs the command for each, answers (spec remaphore 11, 12)."""

import asyncio
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rmb_peer.remaphore import execute
from rmb_peer.remaphore.core import program, replies, subjects, wire
from rmb_peer.remaphore.core.envelopes import CannotSign, sign_reply
from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.rendezvous import UUID_BYTES_MAX
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.core.wire import Message
from rmb_peer.remaphore.intake import Intake
from rmb_peer.remaphore.links import FLUSH_S, Dialer, LinkError, Lost
from rmb_peer.remaphore.listening import Listener, until_ready
from rmb_peer.remaphore.notes import Notes
from rmb_peer.remaphore.patience import Patience

WAITING_MAX = 10_000
WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Messages that wait while a command runs; guesses. The Go library also holds 64 MiB."""

PAYLOAD_BYTES_MAX = 1024 * 1024
"""NATS's own default for the largest message, used while no server has told its own."""

REPLY_ENVELOPE_BYTES_MAX = 192
"""Sender, signature, time, uuid, verb, flag and commas of an answer are at most 185 bytes (section 2)."""

CLOCK_ANSWER = b"0,clock"


@dataclass(frozen=True, slots=True)
class Receiving:
    """What a receiver was told to do.

    Attributes:
        subject: what it listens to, wildcards included.
        once: `-o`, or implied by `-u`.
        command: arguments of the command line; empty for none.
        retention_ns: `None` without `--durable`; 0 for what the store has.
    """

    settings: Settings
    passing: Filter
    subject: str
    once: bool
    command: Sequence[str]
    timeout_ns: int
    retention_ns: int | None


class Receiver:
    """Takes messages off the queue, one after the other."""

    def __init__(self, what: Receiving, dialer: Dialer, notes: Notes) -> None:
        self._what = what
        self._notes = notes
        self._command = [os.fsencode(word) for word in what.command]
        self._waiting: asyncio.Queue[tuple[Message, bytes]] = asyncio.Queue(WAITING_MAX)
        self._waiting_bytes = 0
        self._answering: set[asyncio.Task[None]] = set()
        self.handled = 0
        self.stop = asyncio.Event()
        intake = Intake(what.settings, what.passing, notes, self._accept, self._tell_time)
        self.listener = Listener(what.settings, dialer, what.subject, what.passing, intake, notes, what.retention_ns)

    def _accept(self, message: Message, encoded: bytes) -> None:
        if self._waiting.full() or self._waiting_bytes + len(encoded) > WAITING_BYTES_MAX:
            self._notes.log("Message error: too many messages wait for the command, this one is dropped")
            return
        self._waiting_bytes += len(encoded)
        self._waiting.put_nowait((message, encoded))

    def _tell_time(self, message: Message, encoded: bytes) -> None:
        if len(self._answering) < WAITING_MAX:
            task = asyncio.ensure_future(self._reply(encoded, CLOCK_ANSWER))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def work(self) -> None:
        """Handle messages until told to stop, or until one was handled if that is enough."""
        while not self.stop.is_set():
            taken = await self._next()
            if taken is None:
                return
            message, encoded = taken
            if await self._ours(encoded):
                await self._handle(message, encoded)
                if self._what.once:
                    return

    async def _next(self) -> tuple[Message, bytes] | None:
        getting, stopped = asyncio.ensure_future(self._waiting.get()), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({getting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                return None
            taken = getting.result()
        finally:
            getting.cancel()
            stopped.cancel()
        self._waiting_bytes -= len(taken[1])
        return taken

    async def _ours(self, encoded: bytes) -> bool:
        """Whether a receiver that goes on for ever has not handled this kept message in an earlier run."""
        if self._what.retention_ns is None or self._what.once:
            return True  # a rendezvous value is a latch: every receiver that asks finds it
        while True:
            connection = await self.listener.connection()
            kept = self.listener.kept
            assert kept is not None  # the listener opens the store before it is up
            try:
                return await kept.claim(self._scope(), encoded)
            except Lost:
                await asyncio.wait({connection.lost})
                await asyncio.sleep(0)  # let the listener notice

    def _scope(self) -> bytes:
        what = self._what
        words = [what.settings.destination, what.passing.other_name, what.subject.encode(), *what.passing.verbs]
        return hashlib.sha256(b"\0".join([*words, b"", *self._command])).digest()

    async def _handle(self, message: Message, encoded: bytes) -> None:
        self._notes.log("Incoming message")
        self.handled += 1
        payload = await self._run(message) if self._command else replies.NO_DATA
        if message.wants_reply:
            await self._reply(encoded, payload)

    async def _run(self, message: Message) -> bytes:
        argv = program.arguments(self._command, message)
        matched = self._what.passing.matched_name(message.destination)
        limit = self._reply_bytes_max() if message.wants_reply else 0
        outcome = await execute.run(argv, program.environment(message, matched), limit, self.stop)
        self._notes.log(program.log_line(outcome.exit_code, argv))
        if outcome.failure:
            self._notes.log(f"ERROR: {outcome.failure}")
        payload = replies.answer(outcome.exit_code, outcome.output)
        if outcome.left_out or len(payload) > limit > 0:
            head = payload[: limit - replies.CUT_MARK_BYTES_MAX]
            payload = head + replies.cut_mark(outcome.left_out + len(payload) - len(head))
        return payload

    def _reply_bytes_max(self) -> int:
        return (self.listener.max_payload or PAYLOAD_BYTES_MAX) - REPLY_ENVELOPE_BYTES_MAX

    async def _reply(self, encoded: bytes, payload: bytes) -> None:
        """Publish an answer; a lost connection is waited for as long as sending waits."""
        settings = self._what.settings
        uuid = bytes.fromhex(wire.message_hash(encoded))[:UUID_BYTES_MAX]
        try:
            async with asyncio.timeout(FLUSH_S):
                while True:
                    connection = await self.listener.connection()
                    try:
                        reply = sign_reply(settings, payload, uuid, time.time_ns())
                        await connection.publish(subjects.reply_subject(settings.subject, encoded), reply)
                        await connection.flush()
                        return
                    except Lost:
                        await asyncio.wait({connection.lost})
                        await asyncio.sleep(0)
        except TimeoutError:
            self._notes.log("Reply error: nats: timeout")
        except (LinkError, CannotSign) as error:
            self._notes.log(f"Reply error: {error}")


async def receive(what: Receiving, dialer: Dialer, notes: Notes) -> int:
    """Receive mode.

    Returns:
        0 if a message was handled, else 1.

    Raises:
        LinkError: it cannot work.
    """
    patience = Patience(what.timeout_ns)
    receiver = Receiver(what, dialer, notes)
    listening = asyncio.ensure_future(receiver.listener.run())
    working = asyncio.ensure_future(receiver.work())
    try:
        if not await until_ready(receiver.listener, listening, patience.connect_s):
            notes.say(f"no server was reached in time ({dialer.last_failure})")
            return 1
        left_s = None if patience.end_s is None else max(0.0, patience.end_s - asyncio.get_running_loop().time())
        await asyncio.wait({listening, working}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if listening.done() and not working.done():
            listening.result()
        receiver.stop.set()  # a command that still runs is killed, and what it said so far is the answer
        await working
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.wait({working, listening})
    return 0 if receiver.handled else 1
