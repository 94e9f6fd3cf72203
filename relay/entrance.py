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
import ssl
from collections.abc import Callable
from typing import Any, cast

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

EARLY_BYTES_MAX = 256 * 1024
"""What may arrive in the instant between the end of the TLS handshake and the beginning of HTTP; a guess: one read."""

_LOG = get_logger("relay")


class Entrance:
    """All connections to one listening socket."""

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
        self.refusing = 0
        self.silent: dict[Door, None] = {}
        """Those without a request, the one that has been so for longest first."""
        self.handshakes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, listener: Any) -> None:
        """Take connections from a listening socket."""
        self._server = await asyncio.get_running_loop().create_server(lambda: Door(self), sock=listener)

    async def close(self) -> None:
        """Take no more connections; those that are in stay."""
        if self._server is not None:
            self._server.close()
        await end_tasks(self.handshakes)

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
        "_asked",
        "_early",
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
        "_transport",
        "_waiting",
    )

    def __init__(self, entrance: Entrance) -> None:
        """Stand before a connection that was just accepted."""
        self._entrance = entrance
        self._settings = entrance.settings
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._inner: asyncio.Protocol | None = None
        self._site: str | None = None
        self._refusal: Refusal | None = None
        self._early = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._waiting = True
        self._asked = False
        self._session = False
        self._gone = False

    # --- what the transport tells us ----------------------------------------------------------------------------------

    def connection_made(self, made: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, made)  # those of uvloop are like it, but no subclass
        self._count(transport)
        if self._refusal is not None:
            entrance = self._entrance
            entrance.refusing += 1
            if entrance.refusing > REFUSING_MAX:
                transport.abort()
                return
        self._entrance.is_silent(self)
        if self._gone:
            return
        if self._entrance.certificates is None:
            self._begin(transport)
            return
        transport.pause_reading()
        task = self._loop.create_task(self._encrypt(transport, self._entrance.certificates.context))
        self._entrance.handshakes.add(task)
        task.add_done_callback(self._entrance.handshakes.discard)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            self._on_early(data)
            return
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(self._settings.handshake_s, self._too_slow)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
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

    # --- beginning ----------------------------------------------------------------------------------------------------

    def _count(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        ip = read_address(address)
        if ip is None or within(ip, self._settings.uncounted) or within(ip, self._settings.trusted_proxies):
            return
        site = site_of(address)
        if self._entrance.occupancy.enter(site):
            self._site = site
        else:
            self._refusal = too_many_connections(site, self._settings)
            self._entrance.refuse(self._refusal.reason)

    async def _encrypt(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        try:
            encrypted = await self._loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=self._settings.handshake_s
            )
        except (OSError, EOFError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._entrance.refuse("tls_handshake")
            event(_LOG, logging.DEBUG, "no TLS", reason=str(error) or type(error).__name__)
            transport.abort()
            self._leave()
        except asyncio.CancelledError:
            transport.abort()
            self._leave()
            raise
        else:
            if encrypted is None or self._gone:
                transport.abort()
                self._leave()
                return
            self._begin(encrypted)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if self._refusal is not None:
            self._timer = self._loop.call_later(LINGER_S, transport.abort)
            if self._early:
                self._tell(self._refusal)
            return
        self._timer = self._loop.call_later(self._settings.handshake_s, self._too_slow)
        self._inner = self._entrance.serve()
        self._inner.connection_made(transport)
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            self._inner.data_received(early)

    def _on_early(self, data: bytes) -> None:
        if len(self._early) + len(data) > EARLY_BYTES_MAX:
            if self._refusal is None:
                self._transport.abort()
            return
        first = not self._early
        self._early += data
        if self._refusal is not None and first and self._timer is not None:
            self._tell(self._refusal)

    # --- ending -------------------------------------------------------------------------------------------------------

    def cut(self, text: str, status: int, retry_after_s: int | None = None) -> None:
        """End a connection that has no request under way; whoever has not asked anything yet is told why."""
        if self._inner is None:  # still in the TLS handshake, or being refused anyway
            self._transport.abort()
            self._leave()
            return
        if self._transport.is_closing():
            return
        if not self._asked:
            self._transport.write(refusal_text(status, text, retry_after_s))
        self._transport.close()
        self._loop.call_later(LINGER_S, self._transport.abort)

    def _tell(self, refusal: Refusal) -> None:
        """The client reads our answer and leaves; the timer is for one that does not."""
        self._transport.write(refusal_text(429, refusal.text, RETRY_S, refusal.reason))

    def _too_slow(self) -> None:
        self._timer = None
        self._entrance.refuse("slow_request")
        self.cut(f"no request arrived within {self._settings.handshake_s:g} s", 408)

    def _takes_nothing(self) -> None:
        self._entrance.refuse("slow_reader")
        self._transport.abort()

    def _takes_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        """May be called twice."""
        if self._gone:
            return
        self._gone = True
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
