"""Who gets in: connections are counted, encrypted, and cut when they say nothing, before a request is looked at.

A `Door` stands between each connection and the HTTP server. It knows an address and a clock, and whether a request is
under way, which the server tells it; it refuses to know what requests mean.

| What a stranger does | What happens |
|---|---|
| opens too many connections from one address | 429 with `Retry-After` on each further one |
| opens one and says nothing, or sends the head of a request byte by byte | 408 after `handshake_s` |
| does the same during the TLS handshake | cut after `handshake_s` |
| holds as many such connections as may be, from many addresses | the oldest makes room for the newest |
| asks, and does not take the answer | cut after `body_s` |

Connections of trusted proxies are not counted here; `visitors` counts the requests of whom they speak for.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from relay.certificates import Certificates
from relay.client_address import read_address, site_of, within
from relay.http_refusal import refusal_text
from relay.limit_settings import LimitSettings
from relay.metrics import Metrics
from relay.occupancy import Occupancy
from relay.switch import Refusal
from relay.tasks import end as end_tasks
from rmb_peer.logs import event, get_logger

LINGER_S = 2.0
"""How long a connection stays open behind our last word, so that the client can read it; a guess."""

REFUSING_MAX = 64
"""Connections that are being told that they are too many. Those beyond are cut without a word: telling costs memory,
and with TLS a handshake, and an attacker would have us pay for it. A guess."""

RETRY_S = 60
"""When one more connection of an address may be tried; a guess."""

ACCEPT_RETRY_S = 1.0
"""Pause when the system gives us no more connections; a guess, as asyncio has it."""

_LOG = get_logger("relay")


class Entrance:
    """All connections to one relay.

    Attributes:
        doors: how many connections there are.
        refusing: how many of them are being told that they are too many.
        silent: those without a request under way, the one that has been so for longest first.
    """

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        settings: LimitSettings,
        metrics: Metrics,
        *,
        occupancy: Occupancy[str],
        certificates: Certificates | None = None,
    ) -> None:
        """Set up; nobody comes in before `open`.

        Args:
            serve: makes the HTTP server's end of a connection.
            settings: limits.
            metrics: counts refusals.
            occupancy: connections by address.
            certificates: of this relay; without them there is no TLS.
        """
        self.serve = serve
        self.settings = settings
        self.metrics = metrics
        self.occupancy = occupancy
        self.certificates = certificates
        self.doors = 0
        self.refusing = 0
        self.silent: dict[Door, None] = {}
        self._making: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []

    async def open(self, listener: socket.socket) -> None:
        """Take connections from a listening socket, which stays the caller's."""
        listener.setblocking(False)
        self._accepting.append(asyncio.create_task(self._accept(listener)))

    async def close(self) -> None:
        """Take no more connections; those that are in stay."""
        await end_tasks([*self._accepting, *self._making])

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # it was gone before it was taken
            except OSError as error:  # no more files, or no memory
                event(_LOG, logging.ERROR, "no connection can be taken, trying again", reason=str(error.strerror))
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            door = Door(self, accepted, str(address[0]))
            if door.comes_in():
                task = loop.create_task(self._make(door, accepted))
                self._making.add(task)
                task.add_done_callback(self._making.discard)

    async def _make(self, door: "Door", accepted: socket.socket) -> None:
        """From a socket to a connection: that is the TLS handshake, if there is one."""
        context = None if self.certificates is None else self.certificates.context
        limit_s = None if context is None else self.settings.handshake_s
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: door, accepted, ssl=context, ssl_handshake_timeout=limit_s
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are among them
            if context is not None:
                self.refuse("tls_handshake")
            event(_LOG, logging.DEBUG, "no TLS", reason=str(error) or type(error).__name__)
        finally:
            if not door.is_made:
                door.leave()
                accepted.close()

    def is_silent(self, door: "Door") -> None:
        """This connection has no request under way, from now on."""
        self.silent[door] = None
        if len(self.silent) > self.settings.silent_max:
            oldest = next(iter(self.silent))
            del self.silent[oldest]
            self.metrics.refusals["silent_connections"] += 1
            oldest.cut("too many connections wait without a request: try again in 1 s", 503, 1)

    def refuse(self, reason: str) -> None:
        """Count a refusal that no request stands for."""
        self.metrics.refusals[reason] += 1


class Door(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_address",
        "_asked",
        "_entrance",
        "_gone",
        "_inner",
        "_loop",
        "_refusal",
        "_session",
        "_settings",
        "_site",
        "_stalled",
        "_timer",
        "_told",
        "_transport",
        "_waiting",
    )

    def __init__(self, entrance: Entrance, accepted: socket.socket, address: str) -> None:
        """Stand before a socket that was just accepted."""
        self._entrance = entrance
        self._settings = entrance.settings
        self._loop = asyncio.get_running_loop()
        self._accepted = accepted
        self._address = address
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._site: str | None = None
        self._refusal: Refusal | None = None
        self._told = False
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._waiting = True
        self._asked = False
        self._session = False
        self._gone = False

    @property
    def is_made(self) -> bool:
        """Whether the transport has the socket, and will tell us of its end."""
        return self._transport is not None

    def comes_in(self) -> bool:
        """Count the connection; false when it was cut at once."""
        self._entrance.doors += 1
        self._count()
        if self._refusal is not None:
            self._entrance.refusing += 1
            if self._entrance.refusing > REFUSING_MAX:
                self.leave()
                self._accepted.close()
                return False
        self._entrance.is_silent(self)
        return True

    # --- what the transport tells us ----------------------------------------------------------------------------------

    def connection_made(self, made: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, made)  # those of uvloop are like it, but no subclass
        if self._refusal is not None:
            self._timer = self._loop.call_later(LINGER_S, transport.abort)
            return
        self._timer = self._loop.call_later(self._settings.handshake_s, self._too_slow)
        self._inner = self._entrance.serve()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            self._tell()
            return
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(self._settings.handshake_s, self._too_slow)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if not self._session and self._stalled is None:
            self._stalled = self._loop.call_later(self._settings.body_s, self._takes_nothing)
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._takes_again()
        if self._inner is not None:
            self._inner.resume_writing()

    # --- what the server tells us -------------------------------------------------------------------------------------

    def request_began(self) -> None:
        """The head of a request is complete."""
        self._waiting = False
        self._asked = True
        self._disarm()
        self._entrance.silent.pop(self, None)

    def session_began(self) -> None:
        """The request was an upgrade: from now on the session looks after its client."""
        self._session = True
        self._takes_again()

    def request_ended(self) -> None:
        """It is answered; another one may follow, unless a session has begun."""
        if self._session:
            return
        self._waiting = True
        if not self._gone:
            self._entrance.is_silent(self)

    def _count(self) -> None:
        ip = read_address(self._address)
        if ip is None or within(ip, self._settings.uncounted) or within(ip, self._settings.trusted_proxies):
            return
        site = site_of(self._address)
        if self._entrance.occupancy.enter(site):
            self._site = site
        else:
            self._refusal = too_many_connections(site, self._settings)
            self._entrance.refuse(self._refusal.reason)

    # --- ending -------------------------------------------------------------------------------------------------------

    def cut(self, text: str, status: int, retry_after_s: int | None = None) -> None:
        """End a connection that has no request under way; whoever has not asked anything yet is told why."""
        transport = self._transport
        if transport is None:  # still in the TLS handshake, which fails now
            with suppress(OSError):
                self._accepted.shutdown(socket.SHUT_RDWR)
            return
        if transport.is_closing():
            return
        if self._inner is not None and not self._asked:
            transport.write(refusal_text(status, text, retry_after_s))
        transport.close()
        self._loop.call_later(LINGER_S, transport.abort)

    def _tell(self) -> None:
        """Say why, once. The client reads it and leaves; the timer is for one that does not."""
        assert self._refusal is not None and self._transport is not None
        if not self._told:
            self._told = True
            self._transport.write(refusal_text(429, self._refusal.text, RETRY_S, self._refusal.reason))

    def _too_slow(self) -> None:
        self._timer = None
        self._entrance.refuse("slow_request")
        self.cut(f"no request arrived within {self._settings.handshake_s:g} s", 408)

    def _takes_nothing(self) -> None:
        self._entrance.refuse("slow_reader")
        assert self._transport is not None
        self._transport.abort()

    def _takes_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """It is over. May be called twice."""
        if self._gone:
            return
        self._gone = True
        self._entrance.doors -= 1
        self._disarm()
        self._takes_again()
        self._entrance.silent.pop(self, None)
        if self._site is not None:
            self._entrance.occupancy.leave(self._site)
        if self._refusal is not None:
            self._entrance.refusing -= 1


def too_many_connections(site: str, settings: LimitSettings) -> Refusal:
    """An address has as many connections as it may."""
    text = (
        f"{site} has {settings.connections_per_address} connections open, the most that this relay allows from one "
        f"address: close some, or try again in {RETRY_S} s"
    )
    return Refusal("connections_per_address", text, retry_after_ms=RETRY_S * 1000)
