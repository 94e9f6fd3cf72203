"""A client of a store on one `Wire` at a time: it connects when it is asked something, and repeats nothing.

What was under way when a connection ends fails with `exceptions.ConnectionError`; whether it happened nobody knows. It
refuses to know what commands mean and how long to wait for a store that is away.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis import exceptions

from rmb_peer.store.address import Command, StoreAddress
from rmb_peer.store.script import Script
from rmb_peer.store.wire import ANSWER_S_MAX, Packed, Wire, pack


class StoreClient:
    """See the module. Any number of callers; commands of one caller are sent in the order of its calls."""

    def __init__(self, address: StoreAddress, *, answer_s_max: float = ANSWER_S_MAX) -> None:
        """Nothing is connected yet.

        Args:
            address: where the store is.
            answer_s_max: longest wait for an answer, as in `Wire`.
        """
        self._address = address
        self._answer_s_max = answer_s_max
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, command: Command, large: bool = False) -> Any:
        """Send a command and wait for its answer: bytes, an integer, `None` or a list of these.

        Args:
            command: its words.
            large: see `pack`.

        Raises:
            exceptions.RedisError: what the store answered, of the class that redis-py has for it; `ConnectionError` and
                `TimeoutError` among them when there is no answer.
        """
        wire = self._wire
        if wire is None or not wire.ready:
            wire = await self._ready()
        return await wire.send(pack(command, large))

    async def run(self, script: Script, arguments: Command, large: bool = False) -> Any:
        """Run a script, which the store is told where it does not know it.

        Args:
            script: which one.
            arguments: beyond its settings.
            large: see `pack`.

        Raises:
            exceptions.RedisError: as `call`.
        """
        return await self.run_packed(script.packed(arguments, large), script.load)

    async def run_packed(self, packed: Packed, load: Command) -> Any:
        """Run a script whose call is packed already.

        Args:
            packed: the command that runs it.
            load: the command that makes the store know it, where it does not.

        Raises:
            exceptions.RedisError: as `call`.
        """
        wire = self._wire
        if wire is None or not wire.ready:
            wire = await self._ready()
        try:
            return await wire.send(packed)
        except exceptions.NoScriptError:
            await self.call(load)
            return await (await self._ready()).send(packed)

    async def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send several commands with nothing in between, and wait for all answers; the first error is raised.

        Raises:
            exceptions.RedisError: as `call`.
        """
        answers = await self.answers_of([pack(command) for command in commands])
        for answer in answers:
            if isinstance(answer, exceptions.RedisError):
                raise answer
        return answers

    async def answers_of(self, commands: Sequence[Packed]) -> list[Any]:
        """As `call_many`, with packed commands; errors of the store are among the answers.

        Raises:
            exceptions.RedisError: there is no answer.
        """
        wire = self._wire
        if wire is None or not wire.ready:
            wire = await self._ready()
        return await wire.send_many(commands)

    def begin(self, commands: Sequence[Packed]) -> asyncio.Future[list[Any]]:
        """As `answers_of`, without waiting here; no task is made where a connection stands."""
        wire = self._wire
        if wire is not None and wire.ready:
            return wire.send_many(commands)
        return asyncio.ensure_future(self.answers_of(commands))

    async def close(self) -> None:
        """Release the connection; what is under way fails, and so does every later call."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._wire is not None:
            await self._wire.close()

    async def _ready(self) -> Wire:
        """A connection that takes commands; it is up to the caller to send before anybody else runs."""
        while True:
            if self._closed:
                raise exceptions.ConnectionError("the client was closed")
            wire = self._wire
            if wire is not None and wire.ready:
                return wire
            if wire is not None and not wire.lost:
                await wire.room()
                continue
            if self._connecting is None:
                # A task of its own: it serves everybody who waits, and one who gives up does not end it for the others.
                self._connecting = asyncio.create_task(self._connect())
                self._connecting.add_done_callback(_hear)
            await asyncio.shield(self._connecting)

    async def _connect(self) -> None:
        # Both are set before the task is done: awaiting one that is done does not let the loop go on, so a caller that
        # still saw it would ask for ever.
        try:
            self._wire = await self._connected()
        finally:
            self._connecting = None

    async def _connected(self) -> Wire:
        loop, address = asyncio.get_running_loop(), self._address
        wire = Wire(self._answer_s_max)
        try:
            async with asyncio.timeout(address.connect_s_max):
                if address.host is None:
                    await loop.create_unix_connection(lambda: wire, address.path)
                else:
                    transport, _ = await loop.create_connection(
                        lambda: wire, address.host, address.port, ssl=address.tls
                    )
                    connected = transport.get_extra_info("socket")
                    for level, option, value in address.keep_alive:
                        connected.setsockopt(level, option, value)
            if address.hello:
                answers = await wire.send_many([pack(command) for command in address.hello])
                for answer in answers:
                    if isinstance(answer, exceptions.RedisError):
                        raise answer
        except TimeoutError:
            await wire.close()
            raise exceptions.TimeoutError("Timeout connecting to server") from None
        except OSError as error:
            await wire.close()
            raise exceptions.ConnectionError(_why(address, error)) from None
        except (exceptions.RedisError, asyncio.CancelledError):
            await wire.close()
            raise
        return wire


def _hear(task: asyncio.Task[None]) -> None:
    """A failure that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()


def _why(address: StoreAddress, error: OSError) -> str:
    """In the words of redis-py, so that both clients say the same."""
    match error.args:
        case ():
            return f"Error connecting to {address.name}."
        case (what,):
            return f"Error {what} connecting to {address.name}."
        case (number, text, *_):
            return f"Error {number} connecting to {address.name}. {text}."
    raise AssertionError("a tuple has none, one or several members")
