"""Commands and the functions that answer them, however requests arrive: through Redis or from a relay.

It refuses to know how requests come and how answers leave.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rmb_peer.logs import get_logger
from rmb_peer.protocol.errors import CommandRefused
from rmb_peer.protocol.names import BUILTIN_PREFIX, check_command
from rmb_peer.sdk.errors import BAD_REQUEST, FAILED, TOOK_TOO_LONG, ServiceError
from rmb_peer.sdk.payloads import Payload, decode_json, encode

CONCURRENCY_MAX = 256
"""A guess: requests of one command that are worked on at the same time."""

COMMANDS_MAX = 256
"""A guess: commands of one service; each waits on a connection of its own."""

Handler = Callable[["Request"], Any]
"""Answers a request: an async function, or a plain one, which runs in a thread."""

F = TypeVar("F", bound=Handler)
_LOG = get_logger("service")


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler is asked.

    Attributes:
        source: who asks, `<twin>` or `<twin>:<session>`; the gateway has verified it.
        command: the command.
        payload: the bytes.
        schema: their content type, when the asker said.
        tag: the asker's tag.
        uid: the request's id.
        ends_at_s: Unix time after which nobody waits for the answer.
    """

    source: str
    command: str
    payload: bytes
    schema: str | None
    tag: str | None
    uid: str
    ends_at_s: int

    @property
    def twin(self) -> int:
        """The twin that asks."""
        return int(self.source.partition(":")[0])

    def json(self) -> Any:
        """The payload as a JSON value; an empty one is `None`.

        Raises:
            ServiceError: it is no JSON; unless the handler catches it, the asker hears that with code 400.
        """
        try:
            return decode_json(self.payload)
        except ValueError as error:
            raise ServiceError(BAD_REQUEST, str(error)) from None

    def text(self) -> str:
        """The payload as text.

        Raises:
            ServiceError: it is no UTF-8; see `json`.
        """
        try:
            return self.payload.decode()
        except UnicodeDecodeError:
            raise ServiceError(BAD_REQUEST, "the payload is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a handler ended: with a payload, or with an error."""

    payload: Payload
    error: tuple[int, str] | None = None


@dataclass(slots=True)
class Command:
    """One command and who answers it.

    Attributes:
        name: the command.
        handler: see `Handler`.
        concurrency: requests that are worked on at the same time.
        timeout_s: longest run; `None` sets no limit.
        retries: see `local.leases`; `None` is the service's default. Only services on Redis use it.
    """

    name: str
    handler: Handler
    concurrency: int = 1
    timeout_s: float | None = None
    retries: int | None = None
    _threads: ThreadPoolExecutor | None = field(default=None, repr=False)

    async def answer(self, request: Request) -> Outcome:
        """Run the handler; whatever it does, there is an outcome.

        A plain function that exceeds its time goes on in its thread, because nothing can stop it; the asker is told.
        """
        try:
            async with asyncio.timeout(self.timeout_s) as limit:
                return Outcome(encode(await self._call(request)))
        except ServiceError as error:
            return Outcome(Payload(b""), (error.code, error.text))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            _LOG.exception("a handler failed", extra=self._about(request))
            return _broken("CancelledError")  # not we were cancelled, but something that the handler waited for
        except Exception as error:  # noqa: BLE001 - it is logged, and the asker hears of it
            if isinstance(error, TimeoutError) and limit.expired():
                return Outcome(Payload(b""), (TOOK_TOO_LONG, "the service took too long"))
            _LOG.exception("a handler failed", extra=self._about(request))
            return _broken(type(error).__name__)

    def close(self) -> None:
        """Let threads end; those that still run are not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _call(self, request: Request) -> object:
        if inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(
            getattr(self.handler, "__call__", None)  # noqa: B004 - an object with an async `__call__` is one, too
        ):
            return await self.handler(request)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.concurrency, thread_name_prefix=f"rmb-{self.name[:32]}")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.handler, request)

    def _about(self, request: Request) -> dict[str, object]:
        return {"fields": {"command": self.name, "uid": request.uid, "source": request.source}}


def _broken(kind: str) -> Outcome:
    """The kind alone: its text may hold what is nobody's business, and errors travel unencrypted."""
    return Outcome(Payload(b""), (FAILED, f"the service failed: {kind}"))


class Commands:
    """The commands of one service, by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self._commands: dict[str, Command] = {}

    def __iter__(self) -> Iterator[Command]:
        return iter(list(self._commands.values()))

    def get(self, name: str) -> Command | None:
        """The command, if there is one of this name."""
        return self._commands.get(name)

    def add(self, command: Command) -> None:
        """Add one.

        Raises:
            ValueError: the name cannot be a service's, exists already, or a number is out of bounds.
        """
        check_service_command(command.name)
        if command.name in self._commands:
            raise ValueError(f"the command {command.name!r} has a handler already")
        if len(self._commands) >= COMMANDS_MAX:
            raise ValueError(f"a service answers at most {COMMANDS_MAX} commands")
        if not 1 <= command.concurrency <= CONCURRENCY_MAX:
            raise ValueError(f"concurrency is a number from 1 to {CONCURRENCY_MAX}, not {command.concurrency}")
        if command.timeout_s is not None and not command.timeout_s > 0:
            raise ValueError(f"a timeout is a number of seconds above 0, not {command.timeout_s}")
        self._commands[command.name] = command

    def close(self) -> None:
        """See `Command.close`."""
        for command in self._commands.values():
            command.close()


def check_service_command(name: str) -> None:
    """Refuse names that no request for a service can have.

    Raises:
        ValueError: says why.
    """
    try:
        check_command(name)
    except CommandRefused as error:
        raise ValueError(str(error)) from None
    if f"{name}.".startswith(BUILTIN_PREFIX):
        raise ValueError(f"commands that begin with {BUILTIN_PREFIX} are answered by the gateway itself")
