"""The end of a request whose connection lives on: aiohttp's tasks and request objects go, the WebSocket stays.

aiohttp serves a WebSocket from within the handler of the request that asked for it. A session lasts for days; its
request, with two tasks, a parser and the headers, would take more memory than the session itself. So the handler ends
when the handshake has been answered, and the session runs in a task of ours.

aiohttp closes a connection after such a response unless it is gone already, so for that moment its protocol does not
see it. It goes on to feed what arrives to the WebSocket, and to hear of the connection's end. This is the one file that
touches attributes which aiohttp does not document; `tests/relay/test_upgrade.py` would notice if they changed.
"""

from asyncio import Task, Transport
from collections.abc import Callable
from functools import partial

from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest, RequestHandler, StreamResponse

AtEnd = Callable[[], None]


def read_on(protocol: RequestHandler, reader: object) -> None:
    """What comes behind the handshake goes to `reader.feed_data`, and the end to `reader.feed_eof`.

    That is how aiohttp's own WebSocket gets its bytes.
    """
    protocol.set_parser(reader)  # type: ignore[arg-type]  # any object with these two methods
    protocol.keep_alive(False)


def takes_no_more(protocol: RequestHandler) -> bool:
    """Whether more waits to be written than the transport wants."""
    return protocol._paused


async def drained(protocol: RequestHandler) -> None:
    """Wait until the transport takes more.

    Raises:
        ConnectionError: the connection is gone.
    """
    await protocol._drain_helper()


class Upgraded(StreamResponse):
    """The answer of a handler that has answered the handshake itself."""

    def __init__(self, protocol: RequestHandler, go_on: Callable[[], None]) -> None:
        """The answer to one request.

        Args:
            protocol: aiohttp's, of the connection.
            go_on: aiohttp has done with the request: from now on the connection may be read and written.
        """
        super().__init__(status=101)
        self._protocol = protocol
        self._detached: Transport | None = None
        self.at_end: list[AtEnd] = []
        """For those who take part in the request, and want to hear when the connection ends."""
        task = protocol._task_handler
        if task is None:
            go_on()  # the connection is lost, and whoever serves it will notice
        else:
            task.add_done_callback(partial(self._done, go_on))

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Nothing is left to be said."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """The last thing that aiohttp calls before it ends its task."""
        protocol = self._protocol
        self._detached, protocol.transport = protocol.transport, None
        protocol._parser = None  # of HTTP

    def _done(self, go_on: Callable[[], None], _: "Task[None]") -> None:
        if self._detached is not None and not self._detached.is_closing():
            self._protocol.transport = self._detached
        go_on()
