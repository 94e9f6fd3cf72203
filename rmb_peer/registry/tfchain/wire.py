"""One WebSocket to a node, shaped as `substrate-interface` wants it, with a deadline and a size limit on everything.

The library sets neither. `websockets` is used instead of the library's own client, because there a time limit holds for
the whole opening and for a whole message, and a message has a greatest size. This module refuses to know what the texts
mean. All methods but `abort` are for one thread.
"""

import contextlib
import math
import socket
import time
from collections.abc import Callable

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from rmb_peer.registry.tfchain.errors import NodeFailed

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""Largest message of a node; a guess. Metadata takes half a megabyte, 256 of the largest twins one."""

WORK_BYTES_MAX = 128 * 1024 * 1024
"""All messages during one piece of work; a guess, so that a node that only talks cannot fill our memory."""

CLOSE_S_MAX = 1.0
"""Longest wait for a closing handshake; nobody depends on it."""


class Wire:
    """A connected socket. The names `send`, `recv` and `close` are those that `substrate-interface` calls."""

    def __init__(self, url: str, *, open_s_max: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect.

        Args:
            url: `ws://` or `wss://`.
            open_s_max: limit for connecting, TLS and the opening handshake together.
            clock: monotonic seconds.

        Raises:
            NodeFailed: it did not work; says why.
        """
        self._clock = clock
        self._deadline = math.inf
        self._bytes_left = WORK_BYTES_MAX
        self._stack = contextlib.ExitStack()
        try:
            # Entered instead of called: since version 17 that is the way that is not deprecated.
            self._socket: ClientConnection = self._stack.enter_context(
                connect(
                    url,
                    open_timeout=open_s_max,
                    close_timeout=CLOSE_S_MAX,
                    max_size=MESSAGE_BYTES_MAX,
                    user_agent_header=None,
                )
            )
        except TimeoutError:
            raise NodeFailed(f"no connection within {open_s_max:g} s") from None
        except (OSError, WebSocketException, ValueError, EOFError) as error:
            raise NodeFailed(_reason(error)) from None

    def limit(self, seconds: float | None) -> None:
        """From now on: fail when `seconds` have passed (`None`: never), or when too much has been received."""
        self._deadline = math.inf if seconds is None else self._clock() + seconds
        self._bytes_left = WORK_BYTES_MAX

    def send(self, text: str) -> None:
        """Send one message.

        Raises:
            NodeFailed: the connection is gone, or the time is up.
        """
        if self._clock() >= self._deadline:
            raise NodeFailed("no answer in time")
        try:
            self._socket.send(text)
        except (OSError, WebSocketException) as error:
            raise NodeFailed(f"connection lost: {_reason(error)}") from None

    def recv(self) -> str:
        """The next message.

        Raises:
            NodeFailed: the connection is gone, the time is up, or the node sends what no node sends.
        """
        left_s = self._deadline - self._clock()
        try:
            message = self._socket.recv(None if left_s == math.inf else max(left_s, 0.0))
        except TimeoutError:
            raise NodeFailed("no answer in time") from None
        except (OSError, WebSocketException, EOFError) as error:
            raise NodeFailed(f"connection lost: {_reason(error)}") from None
        self._bytes_left -= len(message)
        if self._bytes_left < 0:
            raise NodeFailed(f"it sent more than {WORK_BYTES_MAX} bytes for one question")
        if not isinstance(message, str) or not message.lstrip().startswith("{"):
            raise NodeFailed("it sent something that is no JSON object")
        return message

    def close(self) -> None:
        """Close politely; never fails."""
        with contextlib.suppress(OSError, WebSocketException):
            self._stack.close()

    def abort(self) -> None:
        """Cut the connection from any thread: whoever waits in `recv` wakes up with `NodeFailed`."""
        with contextlib.suppress(OSError):
            self._socket.socket.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:200]
