"""A service on Redis: functions that answer commands, under leases, beside any gateway that speaks the Redis API.

    service = Service()

    @service.command("calc.add")
    async def add(request: Request) -> int:
        return sum(request.json())

    service.run()

A request is finished or returned to its queue, whatever happens to this process.
"""

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable

from rmb_peer.local.janitor import PERIOD_S, Janitor
from rmb_peer.local.lease_events import LeaseEvent, LeaseStep, report
from rmb_peer.local.lease_settings import LEASE_S_DEFAULT, RETRIES_DEFAULT, check_settings
from rmb_peer.local.leases import Lease
from rmb_peer.local.program_side import Request as Entry
from rmb_peer.local.program_side import ReturnTo, UnreadableRequest, answer_json, read_request
from rmb_peer.local.redis_client import open_redis
from rmb_peer.local.redis_url import REDIS_DEFAULT, REDIS_VARIABLE
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.sdk.errors import BAD_REQUEST, EXPIRED, STOPPED
from rmb_peer.sdk.handling import Command, Commands, F, Handler, Request
from rmb_peer.sdk.leasing import Ending, Heart, Slot

_LOG = get_logger("serve")


class Service:
    """Answers commands until it is stopped."""

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        lease_s: float = LEASE_S_DEFAULT,
        retries: int = RETRIES_DEFAULT,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """Describe it; `run` or `serve` runs it.

        Args:
            redis_url: the gateway's Redis; by default the variable RMB_REDIS, else redis://localhost:6379.
            lease_s: how long after the last heartbeat of this process its unfinished work is given to others.
            retries: how often work that a process left unfinished is tried again; then the asker gets error 502.
            unix_time: the clock.

        Raises:
            ValueError: a setting is out of bounds.
        """
        check_settings(lease_s, retries)
        self._url = redis_url or os.environ.get(REDIS_VARIABLE) or REDIS_DEFAULT
        self._lease_s = lease_s
        self._retries = retries
        self._unix_time = unix_time
        self._commands = Commands()
        self._slots: list[Slot] = []
        self._stopping = asyncio.Event()
        self.aborted = False

    def command(
        self, name: str, *, concurrency: int = 1, timeout_s: float | None = None, retries: int | None = None
    ) -> Callable[[F], F]:
        """Decorator: let a function answer a command.

        The function gets a `Request` and returns what JSON can hold, bytes, or a `Payload`. It may be async; a plain
        one runs in a thread. `ServiceError` becomes an error answer with that code, any other exception one with 500.

        Args:
            name: such as "calc.add".
            concurrency: requests that are worked on at the same time.
            timeout_s: longest run; then the asker gets error 504. By default there is no limit.
            retries: see `Service`; for this command.

        Raises:
            ValueError: the name cannot be a service's or has a handler already, or a number is out of bounds.
        """

        def register(handler: F) -> F:
            self.add(name, handler, concurrency=concurrency, timeout_s=timeout_s, retries=retries)
            return handler

        return register

    def add(
        self,
        name: str,
        handler: Handler,
        *,
        concurrency: int = 1,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> None:
        """What the decorator `command` does."""
        if retries is not None:
            check_settings(self._lease_s, retries)
        self._commands.add(Command(name, handler, concurrency, timeout_s, retries))

    def run(self, begun: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGINT or SIGTERM: what is in hand is finished first. A second signal cuts it short, and those
        who asked get error 503; `aborted` is then true.

        Args:
            begun: called once signals are handled.

        Raises:
            ValueError: there is no command, or the Redis URL is none.
        """

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._signalled)
            begun()
            await self.serve()

        asyncio.run(main())

    async def serve(self) -> None:
        """Serve until `stop`. Cancelling it gives what is in hand back to the queue.

        Raises:
            ValueError: there is no command, or the Redis URL is none.
        """
        if not list(self._commands):
            raise ValueError("a service needs at least one command")
        redis = open_redis(self._url)
        worker = secrets.token_hex(8)
        heart = Heart(redis, self._url, worker, self._lease_s)
        self._slots = [
            self._slot(Lease(worker, str(number), command.name), heart, command)
            for command in self._commands
            for number in range(command.concurrency)
        ]
        retries = {c.name: self._retries if c.retries is None else c.retries for c in self._commands}
        janitor = Janitor(redis, period_s=min(PERIOD_S, self._lease_s))
        try:
            async with asyncio.TaskGroup() as tasks:
                waker = tasks.create_task(self._wake_on_stop())
                await heart.begin(self._slots, retries, self._stopping)
                helpers = [waker, tasks.create_task(heart.run()), tasks.create_task(janitor.run())]
                await asyncio.gather(*(tasks.create_task(slot.run()) for slot in self._slots))
                for helper in helpers:
                    helper.cancel()
        finally:
            await heart.part()
            await redis.aclose()
            self._commands.close()

    def stop(self) -> None:
        """Take nothing new; `serve` ends when what is in hand is finished. Call it in the thread of the event loop."""
        self._stopping.set()

    def abort(self) -> None:
        """Stop, and cut short what is in hand: those who asked get error 503."""
        self.aborted = True
        self.stop()
        for slot in self._slots:
            slot.abort()

    def _signalled(self) -> None:
        if self._stopping.is_set():
            self.abort()
        else:
            self.stop()

    async def _wake_on_stop(self) -> None:
        await self._stopping.wait()
        await asyncio.gather(*(slot.stop() for slot in self._slots))

    def _slot(self, lease: Lease, heart: Heart, command: Command) -> Slot:
        async def handle(entry: bytes) -> Ending:
            return await self._handle(entry, lease, command)

        return Slot(self._url, lease, heart, handle, self._stopped)

    async def _handle(self, raw: bytes, lease: Lease, command: Command) -> Ending:
        now_s = int(self._unix_time())
        try:
            entry = read_request(raw)
        except UnreadableRequest as error:
            event(_LOG, logging.WARNING, "request refused", reason=str(error), bytes=len(raw))
            if error.return_to is None:
                return Ending("", b"", f"malformed request: {error}")
            return _error(error.return_to, now_s, BAD_REQUEST, f"malformed request: {error}")
        if entry.expired(now_s):
            event(_LOG, logging.WARNING, "request expired before it was taken", uid=entry.return_to.reference)
            return _error(entry.return_to, now_s, EXPIRED, "request expired before the service took it")
        try:
            Address.parse(entry.return_to.source)
        except ValueError as error:
            return Ending("", b"", f"malformed request: `src` is nobody: {error}")
        report(LeaseEvent(LeaseStep.IN_SERVICE, entry.return_to.reference, command.name, lease.worker))
        outcome = await command.answer(_request(entry))
        now_s = int(self._unix_time())
        if outcome.error is not None:
            return _error(entry.return_to, now_s, *outcome.error)
        answer = answer_json(entry.return_to, payload=outcome.payload.data, schema=outcome.payload.schema, now_s=now_s)
        return Ending(entry.return_to.reply_list, answer)

    def _stopped(self, raw: bytes) -> Ending:
        try:
            return_to = read_request(raw).return_to
        except UnreadableRequest as error:
            if error.return_to is None:
                return Ending("", b"", f"malformed request: {error}")
            return_to = error.return_to
        return _error(return_to, int(self._unix_time()), STOPPED, "the service was stopped")


def _request(entry: Entry) -> Request:
    return Request(
        source=entry.return_to.source,
        command=entry.command,
        payload=entry.payload,
        schema=entry.schema,
        tag=entry.tags,
        uid=entry.return_to.reference,
        ends_at_s=entry.timestamp_s + entry.expiration_s,
    )


def _error(return_to: ReturnTo, now_s: int, code: int, text: str) -> Ending:
    answer = answer_json(return_to, payload=b"", schema=None, now_s=now_s, error=(code, text))
    return Ending(return_to.reply_list, answer)
