"""Tells requesters that an envelope which was accepted is dropped after all: for a cap, at its expiry, or because
another relay did not take it.

The error has the form of spec rmb 6.3: code 0, no source (section 9, row 18), no signature, no payload. Only requests
are answered, so there is no error about an error, and nothing goes round in circles. Where the requester is found here
the error names no destination, as spec rmb 6.8 has it. Where it travels to another relay it names one, or that relay
could not know whom it is for; relays accept errors without a signature (`federation.inbound`).

What is under way is bounded. An error that does not fit is dropped and counted: telling must not hold up what it is
told about. This module refuses to know why something was dropped.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from relay.delivery import Delivery
from relay.log_lines import UID_CHARS_LOGGED_MAX, printable
from relay.mailboxes import MailboxFailed
from relay.metrics import Metrics
from relay.switch import SESSION_CHARS_MAX, uses_this_relay
from relay.tasks import end
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, relay_error, source_of
from rmb_peer.protocol.errors import LocalError
from rmb_peer.protocol.lifetime import ERROR_LIFETIME_S
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NotCached
from rmb_peer.registry.lanes import LOOKUP_S_MAX
from rmb_peer.registry.lookup import TwinLookup

UNDER_WAY_MAX = 1000
"""Errors on their way at once; a guess: more than are dropped by one step of a sweep."""

UNDER_WAY_BYTES_MAX = 4 * 1024 * 1024
"""Their bytes, since requesters choose their uids; a guess."""

TEXT_CHARS_MAX = 2000
"""Texts may hold what another relay said; a guess, several times the longest text of ours."""

CLOSE_S_MAX = 2.0
"""How long closing waits for errors that are under way; a guess."""

_LOG = get_logger("relay")


class TellsSender(Protocol):
    """`Telling.tell_sender`, for those who only tell."""

    async def __call__(self, envelope: Envelope, text: str) -> None:
        """See `Telling.tell_sender`."""
        ...


class ForwardsEnvelopes(Protocol):
    """Hands envelopes to other relays."""

    async def forward(self, envelope: Envelope, data: bytes, twin: Twin) -> None:
        """Take over an envelope: when this returns it is safe.

        Args:
            envelope: it.
            data: its serialised form, which is what is sent.
            twin: the destination; it uses other relays.

        Raises:
            LocalError: it was not taken; the text says why.
        """
        ...


class Telling:
    """Errors to requesters.

    Attributes:
        forwards: the way to other relays; `None` while there is none.
    """

    def __init__(
        self,
        delivery: Delivery,
        lookup: TwinLookup,
        domains: frozenset[str],
        metrics: Metrics,
        now_s: Callable[[], float],
        *,
        under_way_max: int = UNDER_WAY_MAX,
        under_way_bytes_max: int = UNDER_WAY_BYTES_MAX,
        lookup_s_max: float = LOOKUP_S_MAX,
    ) -> None:
        """Set up.

        Args:
            delivery: the way into mailboxes.
            lookup: who is twin N.
            domains: the names of this relay, normalised.
            metrics: `told` counts what became of each error.
            now_s: Unix seconds.
            under_way_max: see `UNDER_WAY_MAX`.
            under_way_bytes_max: see `UNDER_WAY_BYTES_MAX`.
            lookup_s_max: longest wait for one answer of the registry.
        """
        self.forwards: ForwardsEnvelopes | None = None
        self._delivery = delivery
        self._lookup = lookup
        self._domains = domains
        self._metrics = metrics
        self._now_s = now_s
        self._under_way_max = under_way_max
        self._under_way_bytes_max = under_way_bytes_max
        self._lookup_s_max = lookup_s_max
        self._count = 0
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def tell_sender(self, envelope: Envelope, text: str) -> None:
        """Tell the requester; returns when the error is stored, handed over, or dropped. Raises nothing.

        Args:
            envelope: what was dropped; only requests are answered (spec rmb 6.3).
            text: what the requester reads, for example `message has expired` (spec rmb 6.8).
        """
        if about := self._begin(envelope, text):
            await self._finish(about)

    def tell_soon(self, envelope: Envelope, text: str) -> None:
        """`tell_sender`, for those who cannot wait."""
        if about := self._begin(envelope, text):
            task = asyncio.get_running_loop().create_task(self._finish(about))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait a moment for what was begun by `tell_soon`, then break it off. Closing twice is harmless."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S_MAX)
        await end(self._tasks)

    def _begin(self, envelope: Envelope, text: str) -> "_About | None":
        """Reserve room for an error; `None` when nobody is told. The request itself, which may be large, is let go."""
        about = _About(envelope.uid, source_of(envelope), text[:TEXT_CHARS_MAX])
        why = None
        if envelope.WhichOneof("message") != "request":
            why = "no_request"
        elif about.source.twin == 0 or len(about.source.session or "") > SESSION_CHARS_MAX:
            why = "no_source"
        elif self._count >= self._under_way_max or self._bytes + about.size > self._under_way_bytes_max:
            why = "busy"
        if why:
            self._ended(about, why)
            return None
        self._count += 1
        self._bytes += about.size
        return about

    async def _finish(self, about: "_About") -> None:
        how = "cancelled"
        try:
            how = await self._tell(about.uid, about.source, about.text)
        finally:
            self._count -= 1
            self._bytes -= about.size
            self._ended(about, how)

    async def _tell(self, uid: str, source: Address, text: str) -> str:
        """What became of it, short and fixed."""
        if await self._delivery.connected_anywhere(source):
            return await self._deliver(uid, source, text, "session")
        twin = self._lookup.peek(source.twin)
        try:
            if isinstance(twin, NotCached):
                async with asyncio.timeout(self._lookup_s_max):
                    twin = await self._lookup.get(source.twin)
        except (RegistryUnavailable, TimeoutError):
            return "lookup_failed"
        if twin is None:
            return "unknown_twin"
        if uses_this_relay(twin, self._domains):
            return await self._deliver(uid, source, text, "mailbox")
        return await self._forward(uid, source, text, twin)

    async def _deliver(self, uid: str, source: Address, text: str, how: str) -> str:
        data = relay_error(uid, text, int(self._now_s()), None).SerializeToString()
        try:
            await self._delivery.deliver(source, data, ERROR_LIFETIME_S)
        except MailboxFailed:
            return "store_failed"
        return how

    async def _forward(self, uid: str, source: Address, text: str, twin: Twin) -> str:
        if self.forwards is None:
            return "no_forwarding"
        error = relay_error(uid, text, int(self._now_s()), source)
        try:
            await self.forwards.forward(error, error.SerializeToString(), twin)
        except LocalError:
            return "not_forwarded"
        return "relay"

    def _ended(self, about: "_About", how: str) -> None:
        self._metrics.told[how] += 1
        if _LOG.isEnabledFor(logging.DEBUG):
            event(
                _LOG,
                logging.DEBUG,
                "dropped, sender told" if how in ("session", "mailbox", "relay") else "dropped, sender not told",
                uid=about.uid[:UID_CHARS_LOGGED_MAX],
                source=printable(about.source),
                how=how,
                reason=about.text,
            )


@dataclass(frozen=True, slots=True)
class _About:
    """What an error needs of a request."""

    uid: str
    source: Address
    text: str

    @property
    def size(self) -> int:
        return len(self.uid) + len(self.source.session or "")
