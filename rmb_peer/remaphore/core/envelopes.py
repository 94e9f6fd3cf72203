"""Signing what goes out and judging what comes in (spec remaphore 2, 4, 5, 6). Time and randomness are arguments."""

from dataclasses import dataclass

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from rmb_peer.remaphore.core import base58, clock, wire
from rmb_peer.remaphore.core.settings import PUBLIC_BYTES, Identity, Settings, allows
from rmb_peer.remaphore.core.text import lower, to_bytes, to_text
from rmb_peer.remaphore.core.wire import Message


class CannotSign(ValueError):
    """A message cannot be made; the text is that of section 2."""


class Refused(ValueError):
    """A message is not believed; the text is that of section 4."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has a time, a sender and a signature."""

    destination: bytes
    verb: bytes
    payload: bytes
    wants_reply: bool
    uuid: bytes
    signer: bytes | None = None  # `-p`


def check_draft(settings: Settings, draft: Draft) -> Identity:
    """Whether a message can be made, and who signs it; done before anything is connected (section 13).

    Raises:
        CannotSign: steps 1, 2 and 4 of section 2; verb `reply`, which section 4 reserves.
    """
    if b"," in draft.destination:
        raise CannotSign("destination contains forbidden character")
    if b"," in draft.verb:
        raise CannotSign("verb contains forbidden character")
    if draft.verb == wire.REPLY_VERB:
        raise CannotSign("verb reply is reserved for answers")
    return _signer(settings, draft)


def _signer(settings: Settings, draft: Draft) -> Identity:
    identity = settings.identity(settings.default_identity if draft.signer is None else draft.signer)
    if draft.signer is None and (identity is None or not allows(identity.verbs, draft.verb)):
        # R6: the verb selects the identity. Only the first entry with a key counts, so a second one is no candidate.
        candidates = (entry for entry in settings.identities if settings.identity(entry.public) is entry)
        identity = next((entry for entry in candidates if allows(entry.verbs, draft.verb)), None)
    if identity is None or not allows(identity.verbs, draft.verb):
        raise CannotSign("no private key with sender permission found" + _case_hint(settings, draft.verb))
    return _usable(identity)


def _case_hint(settings: Settings, verb: bytes) -> str:
    small = to_bytes(lower(to_text(verb)))
    if small != verb and any(allows(identity.verbs, small) for identity in settings.identities):
        return f"\nverbs in the configuration are lower case: did you mean {to_text(small)}?"
    return ""


def _usable(identity: Identity) -> Identity:
    if not identity.consistent:
        public = base58.encode(identity.public)
        raise CannotSign(f"no private key with sender permission found: that of {public} belongs to another public key")
    return identity


def sign(identity: Identity, draft: Draft, now_ns: int) -> bytes:
    """The bytes of a message.

    Args:
        identity: from `check_draft`.
        draft: what to say.
        now_ns: the time it carries.
    """
    return _signed(identity, draft, now_ns)


def sign_reply(settings: Settings, payload: bytes, uuid: bytes, now_ns: int) -> bytes:
    """The bytes of an answer: no destination, verb `reply`, signed by the default identity without a verb check.

    Args:
        settings: whose default identity signs.
        payload: section 12.
        uuid: the first 12 bytes of the request's hash, which binds the answer to it (section 7).
        now_ns: the time it carries.

    Raises:
        CannotSign: the default identity has no usable private key.
    """
    identity = settings.identity(settings.default_identity)
    if identity is None:
        raise CannotSign("no private key with sender permission found")
    return _signed(_usable(identity), Draft(b"", wire.REPLY_VERB, payload, False, uuid), now_ns)


def _signed(identity: Identity, draft: Draft, now_ns: int) -> bytes:
    unsigned = Message(
        sender=identity.public,
        signature=b"",
        destination=draft.destination,
        time_ns=now_ns,
        uuid=draft.uuid,
        verb=draft.verb,
        wants_reply=draft.wants_reply,
        payload=draft.payload,
    )
    covered = unsigned.signed_bytes()
    signature = SigningKey(identity.private[:PUBLIC_BYTES]).sign(covered).signature
    front = f"{base58.encode(identity.public)},{base58.encode(signature)},"
    return front.encode() + covered


def open_message(settings: Settings, encoded: bytes, now_ns: int) -> Message:
    """A message of a peer who may send its verb.

    Args:
        settings: who the peers are.
        encoded: as received.
        now_ns: the clock it is held against.

    Raises:
        Refused: section 4, in the order of its steps.
    """
    return _open(settings, encoded, now_ns, is_reply=False)


def open_reply(settings: Settings, encoded: bytes, now_ns: int) -> Message:
    """An answer of any known peer, whatever its verbs.

    Raises:
        Refused: section 4; also for what is not an answer at all.
    """
    return _open(settings, encoded, now_ns, is_reply=True)


def _open(settings: Settings, encoded: bytes, now_ns: int, is_reply: bool) -> Message:
    try:
        message = wire.parse(encoded)
    except wire.WireError as error:
        raise Refused(str(error)) from None
    peer = settings.peer(message.sender)
    if peer is None or not (is_reply or allows(peer.verbs, message.verb)):
        raise Refused("peer key or permission not known")
    if is_reply:
        message = wire.as_reply(message)
    try:
        VerifyKey(message.sender).verify(message.signed_bytes(), message.signature)
    except (BadSignatureError, ValueError, TypeError):
        raise Refused("signature corrupt") from None
    if message.encoded() != encoded:  # W13: copies with another hash would evade the memory of what was seen
        raise Refused("message format corrupt")
    if is_reply and message.verb != wire.REPLY_VERB:
        raise Refused("not a reply")
    if not clock.within(now_ns, message.time_ns, settings.allow_skew_ns):
        raise Refused("message outside of time window")
    return message
