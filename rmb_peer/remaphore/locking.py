"""`remaphore lock`: one holder at a time, over all machines, by a key with a life time in a JetStream bucket.

The server lets the key of a dead holder expire; we renew it while the command runs. When a renewal is not confirmed in
time, the command is stopped before the key can expire (core/lease.py). The revision under which the key was created is
the fencing token: every later holder has a larger one.
"""

import asyncio
import functools
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
import nats.js.errors
from nats.js.api import Header, KeyValueConfig
from nats.js.kv import KeyValue

from rmb_peer.embedded.child import end_with_parent
from rmb_peer.remaphore.core import durations, subjects
from rmb_peer.remaphore.core.lease import Lease
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.core.text import to_text
from rmb_peer.remaphore.execute import kill_session
from rmb_peer.remaphore.kept import JETSTREAM_S, ask, open_bucket
from rmb_peer.remaphore.links import Connection, Dialer, LinkError, Lost
from rmb_peer.remaphore.notes import Notes
from rmb_peer.remaphore.patience import Patience

BUCKET_BYTES_MAX = 64 * 1024 * 1024
"""A guess: some 200,000 locks."""
HOLDER_BYTES_MAX = 4096
"""What of a holder's description is looked at."""
ASK_AGAIN_S = 1.0
"""How often a lock that is taken is asked for: a release is seen at once, an expiry only by asking."""
RELEASE_S = 2.0
"""Longest wait for a release to be confirmed; afterwards the key expires by itself."""
_PURPOSE = "locks"
_WRONG_LAST_SEQUENCE = (10071, 10164)  # error codes of the server for an update that comes too late
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EXIT_NOT_ACQUIRED = 1
EXIT_NOT_FOUND = 127
"""The shell's code for a command that does not exist."""


class Taken(Exception):
    """The key belongs to somebody else."""


@dataclass(frozen=True, slots=True)
class Locking:
    """What is locked, and what runs meanwhile."""

    settings: Settings
    name: str
    lease_s: int
    timeout_ns: int
    command: Sequence[str]


class Lock:
    """One attempt to hold one lock, over lost connections."""

    def __init__(self, what: Locking, dialer: Dialer, notes: Notes) -> None:
        self._what = what
        self._dialer = dialer
        self._notes = notes
        self._key = subjects.lock_key(what.name)
        self._mark = secrets.token_hex(16)
        self._connection: Connection | None = None
        self._bucket: KeyValue | None = None
        self._told = False
        self.revision = 0

    # --- the store ---------------------------------------------------------------------------------------------------

    async def _open(self) -> tuple[Connection, KeyValue]:
        if self._connection is not None and not self._connection.lost.done() and self._bucket is not None:
            return self._connection, self._bucket
        await self.close()
        connection = self._connection = await self._dialer.dial()
        name = subjects.bucket(self._what.settings.subject, _PURPOSE)
        bucket = await open_bucket(connection, KeyValueConfig(bucket=name, history=1, max_bytes=BUCKET_BYTES_MAX))
        config = (await ask(connection, bucket.status())).stream_info.config
        if not config.allow_msg_ttl:
            raise LinkError("lock needs a NATS server from 2.11 on, because keys must be able to expire one by one")
        self._bucket = bucket
        return connection, bucket

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._bucket = self._connection, None, None
        if connection is not None:
            await connection.close()

    def _value(self) -> bytes:
        holder = {"mark": self._mark, "name": to_text(self._what.settings.destination), "host": socket.gethostname()}
        return json.dumps(holder | {"pid": os.getpid(), "lease_s": self._what.lease_s}).encode()

    async def _holder(self, connection: Connection, bucket: KeyValue) -> tuple[bool, int, str]:
        """Whether the key is ours, its revision, and who holds it; an absent key is nobody's."""
        try:
            entry = await ask(connection, bucket.get(self._key))
        except nats.js.errors.KeyNotFoundError:
            return False, 0, ""
        try:
            holder = json.loads((entry.value or b"")[:HOLDER_BYTES_MAX])
            shown = f"{holder['name']} on {holder['host']}, process {holder['pid']}"
            return holder["mark"] == self._mark, entry.revision or 0, shown[:200]
        except (ValueError, KeyError, TypeError):
            return False, 0, "somebody whose entry cannot be read"

    # --- getting it --------------------------------------------------------------------------------------------------

    async def acquire(self) -> Lease:
        """Wait until the lock is ours; put a time limit around it.

        Raises:
            LinkError: it cannot work.
        """
        while True:
            try:
                return await self._acquire_here(*await self._open())
            except Lost as error:
                self._notes.log(f"Connection lost: {error}")

    async def _acquire_here(self, connection: Connection, bucket: KeyValue) -> Lease:
        loop = asyncio.get_running_loop()
        watcher = None
        while True:
            sent_s = loop.time()
            if await self._create(connection, bucket):
                return Lease(self._what.lease_s, sent_s)
            if watcher is None:
                watcher = await ask(connection, bucket.watch(self._key))
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN_S):
                    await self._until_free(connection, watcher)

    async def _until_free(self, connection: Connection, watcher: KeyValue.KeyWatcher) -> None:
        while True:
            entry = await connection.or_lost(anext(watcher))
            if entry is not None and entry.operation is not None:
                return

    async def _create(self, connection: Connection, bucket: KeyValue) -> bool:
        try:
            self.revision = await ask(
                connection, bucket.create(self._key, self._value(), msg_ttl=float(self._what.lease_s))
            )
            return True
        except nats.js.errors.KeyNotFoundError:
            return False  # it expired while the library looked at it: ask again
        except nats.js.errors.KeyWrongLastSequenceError:
            ours, revision, holder = await self._holder(connection, bucket)
        if ours:  # an earlier attempt had arrived, but its confirmation had not: begin with a lease of known age
            self.revision = revision
            with suppress(Taken):
                self.revision = await self._renew_once(connection, bucket)
                return True
        elif holder and not self._told:
            self._told = True
            self._notes.say(f"lock {self._what.name} is held by {holder}")
        return False

    # --- keeping it --------------------------------------------------------------------------------------------------

    async def renew(self) -> float:
        """Renew until it is confirmed; put a time limit around it.

        Returns:
            when the confirmed attempt was sent, in the time of the event loop.

        Raises:
            Taken: the key is not ours any more.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, bucket = await self._open()
                sent_s = loop.time()
                self.revision = await self._renew_once(connection, bucket)
                return sent_s
            except (Lost, LinkError) as error:
                self._notes.log(f"lock {self._what.name} could not be renewed: {error}")
                await self.close()
                await asyncio.sleep(ASK_AGAIN_S / 10)

    async def _renew_once(self, connection: Connection, bucket: KeyValue) -> int:
        stream = connection.client.jetstream(timeout=JETSTREAM_S)
        subject = f"$KV.{subjects.bucket(self._what.settings.subject, _PURPOSE)}.{self._key}"
        for _ in range(2):
            expected = {str(Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): str(self.revision)}
            try:
                published = stream.publish(subject, self._value(), headers=expected, msg_ttl=float(self._what.lease_s))
                return (await connection.or_lost(published)).seq
            except nats.js.errors.APIError as error:
                if error.err_code not in _WRONG_LAST_SEQUENCE:
                    raise LinkError(f"JetStream: {error.description or error}") from None
            except nats.errors.Error as error:
                raise LinkError(f"JetStream: {error}") from None
            # An attempt whose confirmation was lost may have moved the key on: then it still carries our mark.
            ours, revision, _ = await self._holder(connection, bucket)
            if not ours:
                break
            self.revision = revision
        self.revision = 0
        raise Taken

    async def release(self) -> None:
        """Give the lock back, so that the next one need not wait for it to expire."""
        if not self.revision:
            return  # it is not ours any more
        try:
            async with asyncio.timeout(RELEASE_S):
                connection, bucket = await self._open()
                await ask(connection, bucket.delete(self._key, last=self.revision))
        except (TimeoutError, Lost, LinkError, nats.js.errors.KeyWrongLastSequenceError):
            self._notes.log(f"lock {self._what.name} could not be released; it expires by itself")


async def lock(what: Locking, dialer: Dialer, notes: Notes) -> int:
    """Get the lock, run the command, give the lock back.

    Returns:
        the exit code of the command, 128 and the number of a signal that ended it, 127 if there is no such command;
        1 if the lock was not free in time.

    Raises:
        LinkError: NATS failed, or the lease was lost; then the command has been stopped.
    """
    program = shutil.which(what.command[0])
    if program is None:
        notes.error(f"{what.command[0]}: command not found")
        return EXIT_NOT_FOUND
    patience = Patience(what.timeout_ns)
    held = Lock(what, dialer, notes)
    try:
        try:
            async with asyncio.timeout_at(patience.connect_s):
                lease = await held.acquire()
        except TimeoutError:
            why = f" ({dialer.last_failure})" if dialer.last_failure else ""
            notes.say(f"lock {what.name} was not free in time{why}")
            return EXIT_NOT_ACQUIRED
        try:
            return await _run(what, program, held, lease, notes)
        finally:
            await held.release()
    finally:
        await held.close()


async def _run(what: Locking, program: str, held: Lock, lease: Lease, notes: Notes) -> int:
    variables = {
        "REMAPHORE_LOCK": what.name,
        "REMAPHORE_LOCK_TOKEN": str(held.revision),
        "REMAPHORE_LOCK_LEASE": durations.show(what.lease_s * durations.NS_PER_S),
    }
    loop = asyncio.get_running_loop()
    forwarding = _Forwarding()
    for number in _FORWARDED:
        loop.add_signal_handler(number, forwarding.signal, number)
    try:
        process = await asyncio.create_subprocess_exec(
            *what.command,
            executable=program,
            env=os.environ | variables,
            start_new_session=True,
            preexec_fn=functools.partial(end_with_parent, signal.SIGKILL),  # without us nobody renews
        )
        forwarding.to(process.pid)
        return await _until_ended(what, held, lease, process)
    except (OSError, ValueError) as error:
        notes.error(f"{what.command[0]}: {error}")
        return EXIT_NOT_FOUND
    finally:
        for number in _FORWARDED:
            loop.remove_signal_handler(number)


class _Forwarding:
    """Hands signals on to the command, also those that came before it had started."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._early: list[int] = []

    def to(self, pid: int) -> None:
        """From now on to this session."""
        self._pid = pid
        for number in self._early:
            kill_session(pid, number)

    def signal(self, number: int) -> None:
        """A signal has come."""
        if self._pid is None:
            self._early.append(number)
        else:
            kill_session(self._pid, number)


async def _until_ended(what: Locking, held: Lock, lease: Lease, process: asyncio.subprocess.Process) -> int:
    ended = asyncio.ensure_future(process.wait())
    try:
        why = await _hold(held, lease, process, ended)
    finally:
        if not ended.done():
            kill_session(process.pid)
        await asyncio.wait({ended})
    if why:
        held.revision = 0  # nothing to give back
        raise LinkError(f"lock {what.name} is lost: {why}; the command was stopped")
    code = ended.result()
    return code if code >= 0 else 128 - code


async def _hold(held: Lock, lease: Lease, process: asyncio.subprocess.Process, ended: asyncio.Future[int]) -> str:
    """Renew until the command has ended, which is `""`, or the lease is lost, and why."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.wait({ended}, timeout=max(0.0, lease.renew_s - loop.time()))
        if ended.done():
            return ""
        renewing = asyncio.ensure_future(held.renew())
        try:
            left_s = max(0.0, lease.let_go_s - loop.time())
            both: list[asyncio.Future[Any]] = [renewing, ended]
            await asyncio.wait(both, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ""
            if renewing.done():
                lease = lease.renewed(renewing.result())
                continue
        except Taken:
            kill_session(process.pid)  # somebody else may hold it already
            return "the key was taken or removed"
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
        kill_session(process.pid, signal.SIGTERM)
        await asyncio.wait({ended}, timeout=max(0.0, lease.kill_s - loop.time()))
        kill_session(process.pid)  # also what outlived the command itself
        return "no renewal was confirmed in time"
