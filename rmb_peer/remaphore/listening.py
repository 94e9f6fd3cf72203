"""Keeps a receiver connected and subscribed, over lost connections, with or without kept messages."""

import asyncio
from typing import Any

from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.intake import Intake
from rmb_peer.remaphore.kept import Kept
from rmb_peer.remaphore.links import Connection, Dialer, LinkError, Lost
from rmb_peer.remaphore.notes import Notes


class Listener:
    """A subscription that comes back, and the connection that is up at the moment."""

    def __init__(
        self,
        settings: Settings,
        dialer: Dialer,
        subject: str,
        passing: Filter,
        intake: Intake,
        notes: Notes,
        retention_ns: int | None,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            settings: for the store.
            dialer: makes connections.
            subject: what is listened to.
            passing: only its uuid is used, to look for kept messages.
            intake: gets what arrives.
            notes: where losses are told.
            retention_ns: `None` without `--durable`; 0 for what the store has.
        """
        self._settings = settings
        self._dialer = dialer
        self._subject = subject
        self._passing = passing
        self._intake = intake
        self._notes = notes
        self._retention_ns = retention_ns
        self._up = asyncio.Event()
        self._connection: Connection | None = None
        self.ready = asyncio.Event()
        self.kept: Kept | None = None

    async def run(self) -> None:
        """Stay subscribed; run this as a task and cancel it at the end.

        Raises:
            LinkError: this cannot work: login or permission refused, no JetStream, no such subject.
        """
        while True:
            connection = await self._dialer.dial()
            try:
                await self._serve(connection)
            except Lost as error:
                self._notes.log(f"Connection lost: {error}")
            finally:
                self._up.clear()
                self._connection = None
                await connection.close()

    async def _serve(self, connection: Connection) -> None:
        await connection.subscribe(self._subject, self._intake.arrived)
        await connection.flush()
        following = None
        try:
            if self._retention_ns is not None:
                following = await self._follow(connection, self._retention_ns)
            self._connection = connection
            self._up.set()
            self._notes.log("Connected again" if self.ready.is_set() else "Ready")
            self.ready.set()
            await asyncio.wait({connection.lost, *([following] if following else [])}, return_when="FIRST_COMPLETED")
            if following is not None and following.done():
                following.result()
            raise Lost(connection.why_lost)
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait({following})

    async def _follow(self, connection: Connection, wanted_ns: int) -> asyncio.Future[None]:
        kept = self.kept = await Kept.open(connection, self._settings, wanted_ns)
        caught_up = asyncio.Event()
        following = asyncio.ensure_future(
            kept.follow(
                self._subject,
                self._passing.uuid,
                lambda encoded, stored_ns: self._intake.kept(encoded, stored_ns, kept.retention_ns),
                caught_up,
            )
        )
        reached = asyncio.ensure_future(caught_up.wait())
        try:
            await asyncio.wait({following, reached}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            following.cancel()
            raise
        finally:
            reached.cancel()
        if following.done():
            following.result()
        return following

    @property
    def max_payload(self) -> int | None:
        """The largest message that the server takes; `None` while not connected."""
        return None if self._connection is None else self._connection.max_payload

    async def connection(self) -> Connection:
        """The connection that is up, as soon as there is one."""
        while self._connection is None:
            await self._up.wait()
        return self._connection


async def until_ready(listener: Listener, running: asyncio.Future[None], deadline_s: float | None) -> bool:
    """Wait until a listener is subscribed.

    Args:
        listener: whose `run` is under way.
        running: that task.
        deadline_s: loop time; `None` waits for ever.

    Returns:
        whether it was in time.

    Raises:
        LinkError: `run` failed.
    """
    ready = asyncio.ensure_future(listener.ready.wait())
    try:
        left_s = None if deadline_s is None else max(0.0, deadline_s - asyncio.get_running_loop().time())
        both: list[asyncio.Future[Any]] = [ready, running]
        await asyncio.wait(both, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            raise LinkError("nats: connection closed")
        return listener.ready.is_set()
    finally:
        ready.cancel()
