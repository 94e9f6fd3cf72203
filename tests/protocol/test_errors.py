"""The error tree: which branch, which code, which text."""

import pytest

from rmb_peer.protocol import errors
from rmb_peer.protocol.bao.engines import EngineUnavailable
from rmb_peer.protocol.bao.errors import (
    BadRangeSpec,
    Damage,
    HashMismatch,
    Truncated,
    VerificationFailed,
    WrongArgument,
)
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.errors import LocalError, PeerError, RmbError
from rmb_peer.protocol.link.endings import LinkBroken
from rmb_peer.protocol.token import InvalidToken

DAMAGE = Damage("truncated", "header")

# Spec 5.9 and 5.4, and what our own code answers: class, branch, code, text.
TREE = [
    (errors.InvalidPayloadType(), PeerError, 100, "invalid message payload type"),
    (errors.InvalidPayloadData("x"), PeerError, 101, "invalid message payload data: x"),
    (errors.MessageExpired(), PeerError, 102, "envelope validation error: message has expired"),
    (errors.UnknownSender(7), PeerError, 103, "unknown twin id '7'"),
    (errors.InvalidSignature("x"), PeerError, 104, "invalid envelope signature: x"),
    (errors.SenderHasNoPublicKey(), PeerError, 105, "sender twin has no public key"),
    (errors.CannotDecrypt("invalid cipher data"), PeerError, 106, "e2e error: invalid cipher data"),
    (
        errors.PeerSideFailure("failed to get twin information"),
        PeerError,
        500,
        "other: failed to get twin information",
    ),
    (errors.CommandRefused("x"), PeerError, 403, "x"),
    (errors.UnknownBuiltin("rmb.x"), PeerError, 404, "unknown command 'rmb.x': this gateway offers rmb.version"),
    (
        errors.ServiceQueueFull("echo", 9),
        PeerError,
        429,
        "queue of command 'echo' is full (9 requests wait): try again later",
    ),
    (errors.NotForUs("x"), PeerError, 400, "x"),
    (errors.ClockSkew("x", Envelope()), PeerError, 102, "envelope validation error: x"),
    (
        errors.UnsignedMessage("request"),
        PeerError,
        104,
        "request without a source twin: only errors of a relay come unsigned",
    ),
    (InvalidToken(" has expired"), PeerError, 401, "invalid jwt: jwt has expired"),
    (errors.BadRequest("x"), LocalError, 400, "x"),
    (errors.BadSecret("x"), LocalError, 400, "x"),
    (errors.MessageTooLarge("x"), LocalError, 413, "x"),
    (errors.RequestExpired("x"), LocalError, 102, "x"),
    (errors.UnknownDestination(9), LocalError, 103, "unknown twin id '9'"),
    (errors.CannotEncrypt("x"), LocalError, 106, "e2e error: x"),
    (
        errors.OtherError("response has expired before sending!"),
        LocalError,
        500,
        "other: response has expired before sending!",
    ),
    *(
        (kind(DAMAGE), PeerError, 422, "truncated at the header")
        for kind in (VerificationFailed, HashMismatch, Truncated)
    ),
    (errors.NoAnswer(9, 60), LocalError, 504, "no answer from twin 9 within 60 s"),
    (errors.RefusedByRelay(429, "x", 5), LocalError, 429, "x"),
    (LinkBroken("x"), PeerError, 500, "x"),
    (BadRangeSpec("x"), PeerError, 400, "x"),
    (WrongArgument("x"), LocalError, 400, "x"),
    (EngineUnavailable("x"), LocalError, 500, "x"),
]


@pytest.mark.parametrize(
    ("error", "branch", "code", "text"), TREE, ids=[f"{code}-{type(error).__name__}" for error, _, code, _ in TREE]
)
def test_code_and_text(error: RmbError, branch: type[RmbError], code: int, text: str) -> None:
    """Codes and texts that clients show or compare (spec 5.4, 5.9; appendix C 15 and 16)."""
    assert isinstance(error, branch)
    assert (error.code, str(error)) == (code, text)


def test_every_error_is_in_the_table() -> None:
    """A new error gets a row here, and belongs to exactly one branch."""

    def below(cls: type[RmbError]) -> set[type[RmbError]]:
        return {cls}.union(*(below(child) for child in cls.__subclasses__()))

    ours = {cls for cls in below(RmbError) if cls.__module__.startswith("rmb_peer.protocol")}
    assert ours - {RmbError, LocalError, PeerError} == {type(error) for error, *_ in TREE}
    assert not any(issubclass(cls, LocalError) and issubclass(cls, PeerError) for cls in ours)
