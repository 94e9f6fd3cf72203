"""What another relay posts to us: one envelope per request (spec rmb 6.8).

A relay's signature says who posts, not that it is somebody good; so what a post may do is kept small all the same: the
envelope must have a destination that belongs here, and only errors may come without a twin's signature. Gateways of
other makes accept an unsigned request as one from a relay; passing it on would let anybody on the Internet call any
service (spec rmb 10.1).

This module refuses to know HTTP, and who posts (`gate.py`).
"""

from relay.exchange import Exchange
from relay.federation.answers import ACCEPTED, Answer, bad_request
from relay.log_lines import log_routed
from relay.mailboxes import MailboxFailed
from relay.switch import OFFLINE, UNKNOWN_TWIN, Refusal, refuse_early, uses_this_relay
from rmb_peer.protocol.envelope import Envelope, destination_of, is_fail_fast, parse_envelope, source_of
from rmb_peer.protocol.errors import InvalidPayloadData
from rmb_peer.protocol.lifetime import envelope_ttl_s
from rmb_peer.protocol.signatures import SIGNATURE_BYTES
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable


async def accept_post(data: bytes, exchange: Exchange) -> Answer:
    """Decide on a body, and store it if it is accepted.

    Args:
        data: the body.
        exchange: what all sessions share.
    """
    try:
        envelope = parse_envelope(data)
    except InvalidPayloadData as error:
        exchange.metrics.refusals["no_envelope"] += 1
        return bad_request(str(error))
    refusal = refuse_unsigned(envelope) or refuse_early(envelope, destination_of(envelope), int(exchange.now_s()))
    if refusal is None:
        refusal = await _refuse_absent(envelope, exchange)
    if refusal is not None:
        exchange.metrics.refusals[refusal.reason] += 1
        log_routed(envelope, "refused", refusal.text)
        return Answer(404, refusal.text) if refusal is OFFLINE else bad_request(refusal.text)
    return await _store(envelope, data, exchange)


def refuse_unsigned(envelope: Envelope) -> Refusal | None:
    """Why an envelope that nobody signed goes nowhere, unless it is an error (spec rmb 10.1)."""
    signed = source_of(envelope).twin != 0 and len(envelope.signature) == SIGNATURE_BYTES
    if signed or envelope.WhichOneof("message") == "error":
        return None
    return Refusal("unsigned", "only errors may come without a source twin and its signature")


async def _refuse_absent(envelope: Envelope, exchange: Exchange) -> Refusal | None:
    destination = destination_of(envelope)
    if await exchange.delivery.connected_anywhere(destination):
        return None
    if is_fail_fast(envelope):
        return OFFLINE
    try:
        twin = await exchange.lookup.get(destination.twin)
    except RegistryUnavailable:
        return None  # it may well belong here; a registry that is down for a moment must not lose it
    return refuse_foreign(twin, exchange.domains)


def refuse_foreign(twin: Twin | None, domains: frozenset[str]) -> Refusal | None:
    """Why an envelope for somebody who is not connected here goes nowhere, if this is not the place for it.

    Args:
        twin: the destination's record, `None` if it has none.
        domains: the names of this relay, normalised.
    """
    if twin is None:
        return UNKNOWN_TWIN  # nobody could ever sign in for it (spec rmb 10.5)
    if uses_this_relay(twin, domains):
        return None
    relays = ", ".join(sorted(twin.relays)) or "none"
    return Refusal("not_ours", f"destination twin {twin.id} does not use this relay; its relays: {relays}")


async def _store(envelope: Envelope, data: bytes, exchange: Exchange) -> Answer:
    destination = destination_of(envelope)
    connected = exchange.delivery.connected(destination)
    lifetime_s = envelope_ttl_s(envelope, int(exchange.now_s())) or 0
    try:
        await exchange.delivery.deliver(destination, data, lifetime_s)
    except MailboxFailed as error:
        log_routed(envelope, "refused", str(error))
        return Answer(500, f"switch error: {error}")
    log_routed(envelope, "session" if connected else "mailbox")
    return ACCEPTED
