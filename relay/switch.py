"""Where an envelope goes: the decision of spec rmb 6.4. No I/O; everything that counts comes in as a value.

This module refuses to know how a decision is carried out.
"""

from dataclasses import dataclass

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.errors import BadRequest, InvalidPayloadData, MessageTooLarge
from rmb_peer.protocol.lifetime import envelope_ttl_s
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.protocol.twin import Twin

SESSION_CHARS_MAX = 4096
"""Longest session id in an address: the longest token is no longer, so nobody can sign in with a longer one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an envelope goes nowhere.

    Attributes:
        reason: short and fixed, for counting.
        text: what the requester is told; part of the protocol where spec rmb 6.3, 6.4 and 6.8 give it.
        code: told with it. Relays give 0 (spec rmb 6.3); only refusals that rmb.1 does not know have another.
        retry_after_ms: before that, sending it again is pointless; 0: at any time, or for ever. Only rmb.2 tells it.
    """

    reason: str
    text: str
    code: int = 0
    retry_after_ms: int = 0


RATE_LIMITED = Refusal("rate_limit", "exceeded rate limits, dropping message")
WRONG_SOURCE = Refusal("wrong_source", "message wrong source")
MISSING_DESTINATION = Refusal("missing_destination", "message with missing destination")
LONG_SESSION = Refusal("long_session", f"session id of the destination has more than {SESSION_CHARS_MAX} characters")
EXPIRED = Refusal("expired", "message has expired")
UNKNOWN_TWIN = Refusal("unknown_twin", "unknown twin destination")
NO_RELAY = Refusal("no_relay", "relay info is not set for this twin")
OFFLINE = Refusal("offline", "destination offline")

STORE_FAILED = "store_failed"

RETRY_STORE_MS = 1000
"""When a store or a registry that does not answer is worth another try; a guess: an embedded one restarts within."""


RETRY_ROOM_S = 30
"""When a relay that is full, or that has too many sessions of a twin, is worth another try; a guess: twice as long as a
client that vanished is missed."""


def relay_full(sessions_max: int) -> Refusal:
    """As many sessions as may be are connected. (In both protocols the connection ends with 1013.)"""
    text = f"relay is full: {sessions_max} sessions are connected; try again in {RETRY_ROOM_S} s, or another relay"
    return Refusal("relay_full", text, 503, RETRY_ROOM_S * 1000)


def too_many_sessions(twin: int, sessions_max: int) -> Refusal:
    """As many sessions of one twin as may be are connected. (As above.)"""
    text = (
        f"twin {twin} has {sessions_max} sessions, the most that are allowed: close one; try again in {RETRY_ROOM_S} s"
    )
    return Refusal("sessions_per_twin", text, 429, RETRY_ROOM_S * 1000)


def no_envelope(text: str) -> Refusal:
    """Bytes that are no envelope. (In rmb.1 the connection ends; spec rmb 6.3, step 2.)"""
    return Refusal("no_envelope", text, InvalidPayloadData.code)


def too_large(message_bytes_max: int) -> Refusal:
    """More than this relay carries. (In rmb.1 the connection ends with 1009.)"""
    text = f"message is too large: at most {message_bytes_max} bytes are accepted"
    return Refusal("too_large", text, MessageTooLarge.code)


def lookup_failed(text: str) -> Refusal:
    """The registry gave no answer; its text is passed on (spec rmb 6.4, step 2)."""
    return Refusal("lookup_failed", text, retry_after_ms=RETRY_STORE_MS)


def store_failed(destination: Address, text: str) -> Refusal:
    """The mailbox did not take it (spec rmb 6.4, step 5)."""
    routed = f"failed to route message to peer '{destination}': {text}"
    return Refusal(STORE_FAILED, routed, retry_after_ms=RETRY_STORE_MS)


def mailbox_full(destination: Address, text: str, retry_after_ms: int) -> Refusal:
    """Too much waits already; the same form of text (spec rmb 10.5)."""
    return Refusal("mailbox_full", store_failed(destination, text).text, retry_after_ms=retry_after_ms)


def foreign(twin: Twin) -> Refusal:
    """It belongs to other relays, and this one does not federate."""
    relays = ", ".join(sorted(twin.relays))
    text = f"destination twin {twin.id} uses other relays ({relays}): this relay does not forward to other relays"
    return Refusal("foreign", text)


def refuse_early(envelope: Envelope, destination: Address, now_s: int) -> Refusal | None:
    """What is wrong with an envelope before it matters where its destination is; `None` if nothing.

    An expired envelope is not worth storing; other relays deliver it and let the receiver find out (spec rmb 10.13).
    """
    if destination.twin == 0:
        return MISSING_DESTINATION
    if destination.session is not None and len(destination.session) > SESSION_CHARS_MAX:
        return LONG_SESSION
    if envelope_ttl_s(envelope, now_s) is None:
        return EXPIRED
    return None


def refuse_absent(twin: Twin | None, domains: frozenset[str], fail_fast: bool) -> Refusal | None:
    """Steps 2 to 4: the destination is not connected here; `None` means step 5, store it.

    Args:
        twin: its record, `None` if it has none.
        domains: the names of this relay, normalised.
        fail_fast: whether the sender asked not to store.
    """
    if twin is None:
        return UNKNOWN_TWIN
    if not twin.relays:
        return NO_RELAY
    if not uses_this_relay(twin, domains):
        return foreign(twin)
    return OFFLINE if fail_fast else None


def is_foreign(twin: Twin, domains: frozenset[str]) -> bool:
    """Whether an envelope for it belongs to other relays only (spec rmb 6.4, step 3)."""
    return bool(twin.relays) and not uses_this_relay(twin, domains)


def uses_this_relay(twin: Twin, domains: frozenset[str]) -> bool:
    """Whether one of the twin's relays is this one."""
    return not domains.isdisjoint(twin.relays) or any(_normal(relay) in domains for relay in twin.relays)


def _normal(relay: str) -> str | None:
    """Registries that did not normalise, such as tfchain, may hold anything."""
    try:
        return normalize_relay(relay)
    except BadRequest:
        return None
