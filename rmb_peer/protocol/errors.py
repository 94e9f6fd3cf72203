"""Every way in which a message can fail, with its code on the wire.

Two branches, because they are answered differently:

    RmbError
    ├── LocalError   our mistake or the local program's: raised, and told on the caller's `ret` list
    └── PeerError    the other side's mistake: counted, answered with the wire code, never allowed to crash us

Codes 100 to 106 and 500, with their texts, are those of the existing network (spec rmb 5.9). The codes in the 400s and
504 are ours; they follow HTTP's meaning so that nobody has to look them up.

This module refuses to know who is told, and how.
"""

from rmb_peer.protocol.pb.envelope_pb2 import Envelope


class RmbError(Exception):
    """A failure with a wire code.

    Attributes:
        code: the number put into `err.code` or `Error.code`.
    """

    code: int = 500


class LocalError(RmbError):
    """Our mistake, or that of the program that handed us the message."""


class PeerError(RmbError):
    """A mistake of the other side: a gateway, a relay, or whoever pretends to be one."""


# --- local ------------------------------------------------------------------------------------------------------------


class BadRequest(LocalError):
    """A local program pushed something that cannot be a message; the text says what to change."""

    code = 400


class BadSecret(BadRequest):
    """The mnemonic or seed cannot be used. The text never contains any part of it."""


class MessageTooLarge(LocalError):
    """The message exceeds what the link carries."""

    code = 413


class RequestExpired(LocalError):
    """A local request whose lifetime is over before it was sent, or that never had one (`exp: 0`)."""

    code = 102


class UnknownDestination(LocalError):
    """The destination twin is not in the registry."""

    code = 103

    def __init__(self, twin: int) -> None:
        super().__init__(f"unknown twin id '{twin}'")


class NoAnswer(LocalError):
    """A destination did not answer before the request's lifetime was over. The text is what clients may read."""

    code = 504

    def __init__(self, twin: int, lifetime_s: int) -> None:
        super().__init__(f"no answer from twin {twin} within {lifetime_s} s")


class CannotEncrypt(LocalError):
    """The payload could not be sealed for its destination, for example because the published key is no key."""

    code = 106

    def __init__(self, detail: str) -> None:
        super().__init__(f"e2e error: {detail}")


class OtherError(LocalError):
    """Anything else, in the form that existing clients know: `other: <detail>`.

    Attributes:
        detail: the text without that prefix.
    """

    code = 500

    def __init__(self, detail: str) -> None:
        super().__init__(f"other: {detail}")
        self.detail = detail


class RefusedByRelay(LocalError):
    """A relay says over the acknowledged link that the message goes nowhere; code and text are the relay's.

    Attributes:
        retry_after_ms: sending it again before that is pointless; 0: at any time, or always.
    """

    def __init__(self, code: int, reason: str, retry_after_ms: int = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after_ms = retry_after_ms


# --- the peer's -------------------------------------------------------------------------------------------------------


class InvalidPayloadType(PeerError):
    """A frame that is not binary."""

    code = 100

    def __init__(self) -> None:
        super().__init__("invalid message payload type")


class InvalidPayloadData(PeerError):
    """A binary frame that is no envelope."""

    code = 101

    def __init__(self, detail: str) -> None:
        super().__init__(f"invalid message payload data: {detail}")


class MessageExpired(PeerError):
    """An envelope without remaining lifetime.

    Attributes:
        about: the envelope, where its sender may have to be told.
    """

    code = 102

    def __init__(self, about: Envelope | None = None) -> None:
        super().__init__("envelope validation error: message has expired")
        self.about = about


class ClockSkew(PeerError):
    """An envelope from too far in the future, or with a longer life than repeats are remembered.

    Attributes:
        about: the envelope.
    """

    code = 102

    def __init__(self, detail: str, about: Envelope) -> None:
        super().__init__(f"envelope validation error: {detail}")
        self.about = about


class UnknownSender(PeerError):
    """The source twin is not in the registry; an answer could not be addressed either."""

    code = 103

    def __init__(self, twin: int) -> None:
        super().__init__(f"unknown twin id '{twin}'")


class InvalidSignature(PeerError):
    """Signature absent, malformed, or not made by the source twin.

    Attributes:
        detail: the part of the text after the prefix, as spec rmb 2.7 lists it.
    """

    code = 104

    def __init__(self, detail: str) -> None:
        super().__init__(f"invalid envelope signature: {detail}")
        self.detail = detail


class SenderHasNoPublicKey(PeerError):
    """An encrypted payload from a twin that publishes no key."""

    code = 105

    def __init__(self) -> None:
        super().__init__("sender twin has no public key")


class CannotDecrypt(PeerError):
    """The payload does not open with the key that the sender publishes."""

    code = 106

    def __init__(self, detail: str) -> None:
        super().__init__(f"e2e error: {detail}")


class CommandRefused(PeerError):
    """A command that must not become the name of a list, such as one of our own queues."""

    code = 403


class UnknownBuiltin(PeerError):
    """A command in the `rmb.` name space that this gateway does not offer."""

    code = 404

    def __init__(self, command: str) -> None:
        super().__init__(f"unknown command '{command}': this gateway offers rmb.version")


class ServiceQueueFull(PeerError):
    """The service's list holds as many requests as it may."""

    code = 429

    def __init__(self, command: str, entries_max: int) -> None:
        super().__init__(f"queue of command '{command}' is full ({entries_max} requests wait): try again later")


class NotForUs(PeerError):
    """An envelope addressed to somebody else, or of a kind that a gateway does not handle."""

    code = 400


class UnsignedMessage(PeerError):
    """An envelope without source twin that is no error: nobody may order or answer anonymously (spec rmb 10.1)."""

    code = 104

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} without a source twin: only errors of a relay come unsigned")


class PeerSideFailure(PeerError):
    """We could not handle a valid message, through no fault of its sender: `other: <detail>` (spec rmb 5.9)."""

    code = 500

    def __init__(self, detail: str) -> None:
        super().__init__(f"other: {detail}")
