"""The gate that posts of other relays come through: who is it, does it come too fast, was it here before.

It carries out what `admission.py` decides. Before a body is read, everything is checked that can be, so that strangers
cannot make this relay read what it will not take. This module refuses to know HTTP, and what is in a body.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from relay.claim_limit import ClaimLimit
from relay.client_address import read_address
from relay.federation.admission import (
    Caller,
    admit_signed,
    admit_unsigned,
    bad_signature,
    no_key,
    refuse_claim,
    too_fast,
    wrong_signature,
)
from relay.federation.answers import ACCEPTED, Answer, answer_of
from relay.federation.inbound_settings import InboundSettings
from relay.federation.link_signature import parse_nonce
from relay.federation.listed import ListedRelays
from relay.federation.peers import KeyUnknown, RelayKeys
from relay.federation.repeats import MarksFailed, Repeats, Seen, post_of
from relay.federation.signature import LINK, POST, BadPostSignature, SignedPost, parse_header
from relay.metrics import Metrics
from relay.switch import Refusal
from rmb_peer.logs import event, get_logger

CALLERS_MAX = 10_000
"""Relays and addresses whose rate is remembered; the one heard of longest ago starts anew with a full budget."""

TOLD_S = 60.0
"""Refused relays are logged this often at most: strangers must not fill a log."""

BEGUN_RETRY_S = 1
"""When a post that is being handled already is worth another try; a guess."""

_CONFLICT = 409  # RFC 9110, 15.5.10
_FAILED = 500
_LOG = get_logger("relay.federation")


@dataclass(frozen=True, slots=True)
class Entrant:
    """Somebody whose body is worth reading.

    Attributes:
        address: where it comes from.
        caller: who it is; with a claim, who it is once the signature holds.
        claim: its signature, if it gave one.
        key: with which the signature has to be made.
    """

    address: str
    caller: Caller
    claim: SignedPost | None = None
    key: bytes = b""


class Gate:
    """All posts of other relays."""

    def __init__(
        self,
        settings: InboundSettings,
        *,
        domains: frozenset[str],
        keys: RelayKeys,
        listed: ListedRelays,
        repeats: Repeats,
        metrics: Metrics,
        now_s: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Set up.

        Args:
            settings: the operator's.
            domains: the names of this relay, normalised.
            keys: of other relays.
            listed: recognises relays that cannot sign.
            repeats: what came before.
            metrics: counts refusals.
            now_s: Unix seconds.
            clock: seconds of a monotonic clock.
        """
        self._settings = settings
        self._domains = domains
        self._keys = keys
        self._listed = listed
        self._repeats = repeats
        self._metrics = metrics
        self._now_s = now_s
        self._clock = clock
        self._rates = ClaimLimit(settings.posts_per_minute, CALLERS_MAX)
        self._told_at: float | None = None

    async def enter(self, authorization: str | None, address: str) -> Entrant | Answer:
        """Decide whether a body is worth reading.

        Args:
            authorization: the header, if there is one.
            address: where the post comes from, as far as it can be trusted.

        Returns:
            who it is, else the answer.
        """
        address = str(read_address(address) or address)
        try:
            claim = parse_header(authorization)
        except BadPostSignature as error:
            return self._refuse(bad_signature(str(error)), address)
        if claim is None:
            return await self._enter_unsigned(address)
        refusal = refuse_claim(claim, self._domains, self._now_s())
        if refusal is not None:
            return self._refuse(refusal, address)
        try:
            key = await self._keys.key(claim.from_domain, address)
        except KeyUnknown as error:
            return self._refuse(no_key(claim, str(error), error.final, error.after_s), address)
        return Entrant(address, admit_signed(claim), claim, key)

    async def accept(self, entrant: Entrant, body: bytes, handle: Callable[[bytes], Awaitable[Answer]]) -> Answer:
        """Check the signature over a body, and have it handled if it is to be.

        Args:
            entrant: from `enter`.
            body: all of it.
            handle: stores or refuses an envelope: 202; 4xx when it will never be taken; 5xx when it may be later.
        """
        caller = entrant.caller
        refusal = await self._refuse_signature(entrant, body)
        if refusal is None and entrant.claim is not None:  # before the signature held, this would be anybody's budget
            refusal = self._too_fast(caller)
        if refusal is not None:
            return self._refuse(refusal, entrant.address)
        post = post_of(caller.budget, body, entrant.claim.signature if entrant.claim else b"")
        try:
            seen = await self._repeats.begin(post)
        except MarksFailed as error:
            return Answer(_FAILED, f"switch error: {error}")
        if seen is not Seen.NEW:
            return self._repeated(seen)
        answer = await handle(body)
        if answer == ACCEPTED:
            await self._repeats.stored(post)
        elif answer.status < 500:
            await self._repeats.refused(post)
        else:
            await self._repeats.failed(post)
        return answer

    async def open_link(self, authorization: str | None, nonce: str | None, address: str) -> Caller | Answer:
        """Decide whether another relay may open a lasting link; only one that signs may.

        Args:
            authorization, nonce: the headers, see `link_signature`.
            address: where the upgrade comes from, as far as it can be trusted.

        Returns:
            who it is, else the answer.
        """
        entrant = await self.enter(authorization, address)
        if isinstance(entrant, Answer):
            return entrant
        assert entrant.claim is not None  # an upgrade without one is a client's
        try:
            signed = parse_nonce(nonce)
        except BadPostSignature as error:
            return self._refuse(bad_signature(str(error)), address)
        if refusal := await self._refuse_signature(entrant, signed, LINK):
            return self._refuse(refusal, address)
        proof = post_of(entrant.caller.budget, LINK + signed, entrant.claim.signature)
        try:
            seen = await self._repeats.begin(proof)
        except MarksFailed as error:
            return Answer(_FAILED, f"switch error: {error}")
        if seen is not Seen.NEW:
            self._metrics.repeats += 1
            return Answer(_CONFLICT, "this very signature has opened a link before")
        await self._repeats.refused(proof)  # it is used up
        return entrant.caller

    def refuse_rate(self, caller: Caller) -> Refusal | None:
        """Count what came on a link like a post; says so when that is too fast."""
        return self._too_fast(caller)

    async def _enter_unsigned(self, address: str) -> Entrant | Answer:
        caller = admit_unsigned(address, await self._listed.named(address), self._settings.open_to_all)
        refusal = caller if isinstance(caller, Refusal) else self._too_fast(caller)
        if refusal is not None:
            return self._refuse(refusal, address)
        assert isinstance(caller, Caller)
        return Entrant(address, caller)

    async def _refuse_signature(self, entrant: Entrant, body: bytes, purpose: bytes = POST) -> Refusal | None:
        """A signature that fails may have been made with a new key; the relay is asked once more."""
        claim = entrant.claim
        if claim is None or claim.is_signed_by(entrant.key, body, purpose):
            return None
        try:
            newer = await self._keys.newer_key(claim.from_domain, entrant.key, entrant.address)
        except KeyUnknown as error:
            return no_key(claim, str(error), error.final, error.after_s)
        if newer is not None and claim.is_signed_by(newer, body, purpose):
            return None
        return wrong_signature(claim)

    def _too_fast(self, caller: Caller) -> Refusal | None:
        wait_s = self._rates.take(caller.budget, self._clock())
        return too_fast(caller, self._settings.posts_per_minute, wait_s) if wait_s else None

    def _repeated(self, seen: Seen) -> Answer:
        self._metrics.repeats += 1
        if seen is Seen.STORED:
            return ACCEPTED
        if seen is Seen.REFUSED:
            return Answer(_CONFLICT, "this very post was refused before")
        return Answer(503, f"this post is being handled: try again in {BEGUN_RETRY_S} s", BEGUN_RETRY_S)

    def _refuse(self, refusal: Refusal, address: str) -> Answer:
        self._metrics.refusals[refusal.reason] += 1
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TOLD_S:
            self._told_at = now
            event(_LOG, logging.WARNING, "a relay is refused", address=address, reason=refusal.text)
        else:
            event(_LOG, logging.DEBUG, "refused", address=address, reason=refusal.text)
        return answer_of(refusal)
