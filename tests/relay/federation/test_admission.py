"""Who may post: every row of the table, and the texts."""

import pytest

from relay.federation.admission import (
    Caller,
    admit_signed,
    admit_unsigned,
    no_key,
    refuse_claim,
    too_fast,
    wrong_signature,
)
from relay.federation.answers import Answer, answer_of
from relay.federation.signature import SignedPost
from relay.switch import Refusal

CLAIM = SignedPost("a.test", "b.test", 1000, bytes(64))
HERE = frozenset({"b.test", "c.test"})


def test_signed() -> None:
    """In the name of the relay."""
    assert admit_signed(CLAIM) == Caller("a.test", True, "relay a.test")


@pytest.mark.parametrize("open_to_all", [False, True])
def test_listed(open_to_all: bool) -> None:
    """In the name of the listed relay, also when everybody may post."""
    assert admit_unsigned("192.0.2.1", "a.test", open_to_all) == Caller("a.test", False, "listed a.test")


def test_open() -> None:
    """In the name of its address."""
    assert admit_unsigned("192.0.2.1", None, True) == Caller("192.0.2.1", False, "192.0.2.1")


def test_not_signed() -> None:
    """401 by default, and the text says what both sides can do."""
    refusal = admit_unsigned("192.0.2.1", None, False)
    assert isinstance(refusal, Refusal)
    assert answer_of(refusal) == Answer(
        401,
        "this relay takes messages of relays that sign what they post (RMB-Relay); its operator can accept one that "
        "cannot: rmb-relay --federation-from NAME=192.0.2.1",
    )


def test_budgets_are_apart() -> None:
    """A relay that calls itself like an address does not spend the budget of that address."""
    signed = admit_signed(SignedPost("192.0.2.1", "b.test", 0, bytes(64)))
    unsigned = [admit_unsigned("192.0.2.1", name, True) for name in (None, "192.0.2.1")]
    assert len({caller.budget for caller in (signed, *unsigned) if isinstance(caller, Caller)}) == 3


@pytest.mark.parametrize("off_s", [-60, 60])
def test_a_claim_that_can_count(off_s: int) -> None:
    """For this relay, from another one, of about now."""
    assert refuse_claim(CLAIM, HERE, 1000 + off_s) is None


@pytest.mark.parametrize(
    ("claim", "now_s", "text"),
    [
        (CLAIM, 1061, "the signature's time, 1970-01-01T00:16:40Z (1000), is 61 s before this relay's, "),
        (CLAIM, 939, "the signature's time, 1970-01-01T00:16:40Z (1000), is 61 s after this relay's, "),
        (
            SignedPost("a.test", "d.test", 1000, b""),
            1000,
            "the signature is made out to d.test; this relay is b.test, c",
        ),
        (SignedPost("c.test", "b.test", 1000, b""), 1000, "the signature is in the name of this relay itself, c.test"),
    ],
)
def test_a_claim_that_cannot_count(claim: SignedPost, now_s: int, text: str) -> None:
    """401 before any key is looked at."""
    refusal = refuse_claim(claim, HERE, now_s)
    assert refusal is not None
    assert (refusal.reason, refusal.code) == ("relay_signature", 401)
    assert refusal.text.startswith(text)


def test_a_wrong_signature() -> None:
    """401, with the place where the key was found."""
    assert answer_of(wrong_signature(CLAIM)) == Answer(
        401, "the signature was not made for this body with the relay_key of https://a.test/.well-known/rmb"
    )


def test_a_key_that_cannot_be_had() -> None:
    """Never: 401. Not now: 503 and when to try again, for nothing is wrong with the message."""
    assert answer_of(no_key(CLAIM, "none", True, 5)) == Answer(401, "the signature of a.test cannot be checked: none")
    assert answer_of(no_key(CLAIM, "none", False, 4.2)) == Answer(
        503, "the signature of a.test cannot be checked: none; try again in 5 s", 5
    )


def test_too_fast() -> None:
    """Ours hear 429; others, who would take that for the end of the message, 503."""
    signed, unsigned = admit_signed(CLAIM), Caller("192.0.2.1", False, "192.0.2.1")
    text = "more than 600 posts per minute from {}: try again in 1 s"
    assert answer_of(too_fast(signed, 600, 0.1)) == Answer(429, text.format("a.test"), 1)
    assert answer_of(too_fast(unsigned, 600, 0.1)) == Answer(503, text.format("192.0.2.1"), 1)
