"""Connections to NATS (spec remaphore 17), through nats-py. The only module that imports it at its top.

One `Connection` is one connection to one server and ends for good when that is lost; the `Dialer` makes the next. The
library's own reconnecting is not used, because it hides refused logins and lost commands. This module refuses to know
what is in a message.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rmb_peer.remaphore.config_file import read_file
from rmb_peer.remaphore.core import credentials
from rmb_peer.remaphore.core.configuration import BadConfig
from rmb_peer.remaphore.core.subjects import redacted

T = TypeVar("T")

CONNECT_S = 5.0
"""Longest wait for each step of connecting to one server (section 17)."""
FLUSH_S = 10.0
"""Longest wait for the server to confirm (section 17)."""
CLOSE_S = 2.0
RETRY_S = 0.2
RETRY_JITTER_S = 0.1
"""Pause between rounds over the servers (section 17)."""
PING_S = 3
PINGS_OUT_MAX = 3
REFUSALS_MAX = 2
"""A server that has refused the login so often is not asked again, as in the Go library."""

_LOGIN_WORDS = ("authorization violation", "authentication", "authorization failed")
_DIAL_ERRORS = (OSError, nats.errors.Error, TimeoutError, ValueError, EOFError)


def _dial_errors(url: str) -> tuple[type[Exception], ...]:
    if not url.startswith(("ws://", "wss://")):
        return _DIAL_ERRORS
    import aiohttp  # the library has imported it, too: WebSockets go through it

    return (*_DIAL_ERRORS, aiohttp.ClientError)


class LinkError(Exception):
    """What ends the program with exit code 3; the text says why."""


class Denied(LinkError):
    """The server does not let us publish or subscribe there."""


class Lost(Exception):
    """The connection has ended."""


class _Client(Client):
    """The library's client, stricter about TLS and complete about logins; both gaps have a test with a real server."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        await super()._process_info(info, initial_connection)
        assert self._current_server is not None
        if initial_connection and self._current_server.uri.scheme == "tls":
            # The library would go on in plain text when the server does not insist on TLS.
            if not (info.get("tls_required") or info.get("tls_available")):
                raise nats.errors.SecureConnWantedError
            info["tls_required"] = True

    def _connect_command(self) -> bytes:
        command = super()._connect_command()
        assert self._current_server is not None
        uri = self._current_server.uri
        if uri.username is None:
            return command
        # Login and password of the URL go out in addition to the credentials, as in the Go library.
        options = json.loads(command.removeprefix(b"CONNECT "))
        if uri.password is None:
            options["auth_token"] = unquote(uri.username)
        else:
            options["user"], options["pass"] = unquote(uri.username), unquote(uri.password)
        return b"CONNECT " + json.dumps(options).encode() + b"\r\n"


class Connection:
    """A connection that works until `lost` is done."""

    def __init__(self, url: str) -> None:
        self.url = redacted(url)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.client = _Client()
        self._up = False
        self._denied: list[str] = []
        self._last_error = ""

    async def open(self, url: str, login: "_Login") -> None:
        """Connect and log in.

        Raises:
            LinkError: the credentials cannot be used.
            OSError, nats.errors.Error, TimeoutError, ValueError, EOFError: it did not work this time.
        """
        connecting = self.client.connect(
            servers=[url],
            allow_reconnect=False,
            connect_timeout=CONNECT_S,  # type: ignore[arg-type] # any number of seconds works
            ping_interval=PING_S,
            max_outstanding_pings=PINGS_OUT_MAX,
            user_jwt_cb=login.jwt if login.usable else None,
            signature_cb=login.sign if login.usable else None,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
        )
        await _apart(connecting)
        self._up = True

    async def _on_error(self, error: Exception) -> None:
        if not self._up:
            raise error  # the library would try the same server for ever
        text = str(error)
        if "permissions violation" in text.lower():
            self._denied.append(text)
        elif isinstance(error, nats.errors.SlowConsumerError):
            self._last_error = "messages were dropped, because they came faster than they were read"
        else:
            self._last_error = text

    async def _on_closed(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    @property
    def why_lost(self) -> str:
        """The last thing the library said."""
        return self._last_error or "connection closed"

    @property
    def max_payload(self) -> int:
        """The largest message that this server takes, in bytes."""
        return self.client.max_payload

    async def publish(self, subject: str, payload: bytes) -> None:
        """Hand a message to the library; `flush` says whether it went out.

        Raises:
            LinkError: too large for the server.
            Lost: the connection has ended.
        """
        try:
            await _apart(self.client.publish(subject, payload))
        except nats.errors.MaxPayloadError as error:
            raise LinkError(str(error)) from None
        except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError, OSError):
            raise Lost(self.why_lost) from None

    async def subscribe(self, subject: str, handle: Callable[[bytes], None]) -> None:
        """Call `handle` with every payload on a subject; it must not raise.

        Raises:
            LinkError: the subject is no subject.
            Lost: the connection has ended.
        """

        async def on_message(message: Msg) -> None:
            handle(message.data)

        try:
            await _apart(self.client.subscribe(subject, cb=on_message))
        except nats.errors.BadSubjectError as error:
            raise LinkError(str(error)) from None
        except (nats.errors.ConnectionClosedError, OSError):
            raise Lost(self.why_lost) from None

    async def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until the server has processed everything so far.

        Raises:
            Denied: it refused something.
            LinkError: it did not answer in time.
            Lost: the connection has ended.
        """
        # The library writes a ping at once and commands a moment later, so only the second pong tells about them.
        for _ in range(2):
            await self.or_lost(self.client.rtt(timeout=timeout_s))  # type: ignore[arg-type]
        if self._denied:
            raise Denied(self._denied.pop(0))

    async def or_lost(self, call: Awaitable[T]) -> T:
        """Await a call of the library, but not longer than the connection lives.

        Raises:
            LinkError: it took too long.
            Lost: the connection has ended.
        """
        task = asyncio.ensure_future(call)
        try:
            both: list[asyncio.Future[Any]] = [task, self.lost]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Lost(self.why_lost)
            return task.result()
        except nats.errors.TimeoutError:
            if self.lost.done():
                raise Lost(self.why_lost) from None
            raise LinkError("nats: timeout") from None
        except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError, OSError):
            raise Lost(self.why_lost) from None
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # as in _apart

    async def close(self) -> None:
        """Close; what was published before is written first. Closing twice is harmless."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await _apart(self.client.close())
        except (OSError, TimeoutError, nats.errors.Error):
            return  # it is gone, which is what was wanted


async def _apart(call: Coroutine[Any, Any, T]) -> T:
    """Await a call of the library in a task of its own: it swallows cancellations, which must reach us all the same."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task})
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody asks any more


class _Login:
    """Reads the credentials file when a server asks, and not before (R25)."""

    def __init__(self, path: str, optional: bool) -> None:
        self._path = path
        self.usable = True
        if optional:  # the URL holds a login: then the file need not exist
            try:
                self._read()
            except LinkError:
                self.usable = False

    def _read(self) -> credentials.Credentials:
        try:
            return credentials.parse(read_file(self._path, credentials.CREDENTIALS_BYTES_MAX))
        except BadConfig as error:
            raise LinkError(f"credentials: {error}") from None
        except credentials.BadCredentials as error:
            raise LinkError(f"credentials: {self._path}: {error}") from None

    def jwt(self) -> bytearray:
        return bytearray(self._read().jwt.encode())

    def sign(self, nonce: str) -> bytes:
        import base64

        import nkeys
        from nacl.exceptions import CryptoError

        try:
            pair = nkeys.from_seed(bytearray(self._read().seed.encode()))
            return base64.b64encode(pair.sign(nonce.encode()))
        except (nkeys.NkeysError, CryptoError, ValueError, TypeError):
            raise LinkError(f"credentials: {self._path}: the seed is none") from None


class Dialer:
    """Makes connections to any of the servers."""

    def __init__(self, urls: Sequence[str], credentials_path: str) -> None:
        self._urls = list(urls)
        self._credentials_path = credentials_path
        self._refusals: Counter[str] = Counter()
        self.last_failure = ""

    async def dial(self) -> Connection:
        """Try the servers in random order until one answers; without end, so put a time limit around it.

        Raises:
            LinkError: all servers refuse the login, or the credentials cannot be used.
        """
        while True:
            urls = [url for url in self._urls if self._refusals[url] < REFUSALS_MAX]
            if not urls:
                raise LinkError(self.last_failure)
            random.shuffle(urls)
            for url in urls:
                connection = await self._attempt(url)
                if connection is not None:
                    return connection
            await asyncio.sleep(RETRY_S + random.random() * RETRY_JITTER_S)  # noqa: S311 - jitter, no secret

    async def _attempt(self, url: str) -> Connection | None:
        connection = Connection(url)
        try:
            async with asyncio.timeout(2 * CONNECT_S):
                await connection.open(url, _Login(self._credentials_path, optional="@" in url))
        except _dial_errors(url) as error:
            await connection.close()
            self._note_failure(url, error)
            return None
        except BaseException:
            await connection.close()
            raise
        self._refusals[url] = 0
        return connection

    def _note_failure(self, url: str, error: Exception) -> None:
        text = str(error).replace("'", "").strip()
        if any(word in text.lower() for word in _LOGIN_WORDS):
            self._refusals[url] += 1
            self.last_failure = f"{text.lower()} ({redacted(url)} refused the login)"
        else:
            text = "timeout" if isinstance(error, TimeoutError) and not text else text or type(error).__name__
            self.last_failure = f"{redacted(url)}: {text}"
