"""What becomes of an envelope that the relay it waits for does not take: another relay, its own mailbox here, or a word
to its sender. This module refuses to know when that is asked, and how relays are spoken to.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from relay.federation.candidates import Candidates, Tried
from relay.federation.outbox import Outboxes, OutboxFailed
from relay.federation.speaker import Queued, Refused, TryAgain
from relay.log_lines import log_routed
from relay.mailboxes import MailboxFailed
from relay.switch import EXPIRED, OFFLINE, UNKNOWN_TWIN, uses_this_relay
from relay.telling import TellsSender
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, is_fail_fast, parse_envelope
from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.cached import NotCached
from rmb_peer.registry.lookup import TwinLookup

DeliverHere = Callable[[Address, bytes, int], Awaitable[object]]
"""Puts an envelope into a mailbox of this relay: destination, bytes, seconds that are left."""


class Fates:
    """Decides, and carries it out. Each method answers whether the envelope may leave its outbox."""

    def __init__(
        self,
        outboxes: Outboxes,
        candidates: Candidates,
        lookup: TwinLookup,
        domains: frozenset[str],
        tell: TellsSender,
        deliver_here: DeliverHere,
        now_s: Callable[[], float],
    ) -> None:
        """Join what is needed.

        Args:
            outboxes: where envelopes wait.
            candidates: which relay is next.
            lookup: who is twin N.
            domains: the names of this relay.
            tell: tells a sender.
            deliver_here: for twins that have moved here.
            now_s: Unix seconds.
        """
        self._outboxes = outboxes
        self._candidates = candidates
        self._lookup = lookup
        self._domains = domains
        self._tell = tell
        self._deliver_here = deliver_here
        self._now_s = now_s

    async def expired(self, queued: Queued) -> bool:
        """Its time is over (spec rmb 6.8)."""
        return await self._give_up(queued, EXPIRED.text)

    async def refused(self, name: str, queued: Queued, refused: Refused) -> bool:
        """The relay does not want it. Another one may; when all have refused, the sender is told."""
        tried = Tried.read(queued.tried)
        try:
            twin = await self._twin(queued)
        except RegistryUnavailable:
            twin = None
        if twin is not None:
            target = self._candidates.after_refusal(twin, name, tried, self._now_s())
            now_tried = replace(tried, refused=tried.refused | {name})
            if target is not None and await self._moved(queued, target, now_tried):
                return True
        return await self._give_up(queued, self._text(tried, refused.text))

    async def failing(self, name: str, queued: Queued, trouble: TryAgain, *, whole: bool) -> bool:
        """The relay could not take it. Another one gets it if it works; else it waits, unless it must not.

        Args:
            name: of the relay.
            queued: the envelope.
            trouble: what happened.
            whole: the relay takes nothing at all, rather than not this one.
        """
        try:
            twin = await self._twin(queued)
        except RegistryUnavailable:
            return False
        if twin is None:
            return await self._give_up(queued, UNKNOWN_TWIN.text)
        tried = Tried.read(queued.tried)
        if uses_this_relay(twin, self._domains) and not tried.refused & self._domains:
            return await self._delivered_here(queued)
        target = self._candidates.after_failure(twin, name, tried, self._now_s(), whole=whole)
        if target is not None and await self._moved(queued, target, replace(tried, failed=tried.failed | {name})):
            return True
        envelope = _read(queued)
        if envelope is not None and is_fail_fast(envelope):  # it asks not to be stored for later (spec rmb 6.6)
            return await self._give_up(queued, self._text(tried, trouble.text))
        return False

    async def _twin(self, queued: Queued) -> Twin | None:
        envelope = _read(queued)
        if envelope is None:
            return None
        twin_id = envelope.destination.twin
        known = self._lookup.peek(twin_id)
        return await self._lookup.get(twin_id) if isinstance(known, NotCached) else known

    async def _moved(self, queued: Queued, target: str, tried: Tried) -> bool:
        """First there, then away from here: a crash between the two makes it come twice, never not at all."""
        try:
            await self._outboxes.put(target, queued.data, queued.expires_at_s, tried.text())
        except OutboxFailed:
            return False
        return True

    async def _delivered_here(self, queued: Queued) -> bool:
        envelope = _read(queued)
        assert envelope is not None, "its twin is known"
        left_s = max(1, int(queued.expires_at_s - self._now_s()))
        try:
            await self._deliver_here(destination_of(envelope), queued.data, left_s)
        except MailboxFailed:
            return False
        return True

    def _text(self, tried: Tried, text: str) -> str:
        """Whoever asked for a twin of this relay hears what this relay always says (spec rmb 6.4, step 4)."""
        return OFFLINE.text if tried.refused & self._domains else text

    async def _give_up(self, queued: Queued, text: str) -> bool:
        envelope = _read(queued)
        if envelope is not None:
            log_routed(envelope, "refused", text)
            await self._tell(envelope, text)
        return True


def _read(queued: Queued) -> Envelope | None:
    try:
        return parse_envelope(queued.data)
    except InvalidPayloadData:  # damaged in the store: nobody can be told
        return None
