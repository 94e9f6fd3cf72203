"""The proof with which a relay opens a link."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.federation.link_signature import NONCE_BYTES, NONCE_HEADER, parse_nonce, sign_link
from relay.federation.signature import LINK, BadPostSignature, SignedPost, parse_header, sign_post
from relay.identity import RelayIdentity

IDENTITY = RelayIdentity(bytes(range(32)))
NONCE = bytes(range(NONCE_BYTES))


def claim(headers: "dict[str, str]") -> SignedPost:
    parsed = parse_header(headers["Authorization"])
    assert parsed is not None
    return parsed


def test_what_is_signed_verifies() -> None:
    """With this key, this nonce, these names and this time; the nonce travels beside."""
    headers = dict(sign_link(IDENTITY, "a.test", "b.test:81", NONCE, 1700000000.9))
    assert parse_nonce(headers[NONCE_HEADER]) == NONCE
    parsed = claim(headers)
    assert (parsed.from_domain, parsed.to_domain, parsed.ts_s) == ("a.test", "b.test:81", 1700000000)
    assert parsed.is_signed_by(IDENTITY.public_key, NONCE, LINK)
    assert not parsed.is_signed_by(IDENTITY.public_key, bytes(NONCE_BYTES), LINK)
    assert not parsed.is_signed_by(RelayIdentity(bytes(32)).public_key, NONCE, LINK)


def test_neither_stands_in_for_the_other() -> None:
    """The signature of a post whose body is a nonce opens no link, and that of a link signs no post."""
    post = claim(dict(sign_post(IDENTITY, "a.test", "b.test", NONCE, 1700000000)))
    assert post.is_signed_by(IDENTITY.public_key, NONCE)
    assert not post.is_signed_by(IDENTITY.public_key, NONCE, LINK)
    link = claim(dict(sign_link(IDENTITY, "a.test", "b.test", NONCE, 1700000000)))
    assert not link.is_signed_by(IDENTITY.public_key, NONCE)
    assert not link.is_signed_by(IDENTITY.public_key, b"")


def test_two_links_in_one_second() -> None:
    """Their signatures differ, so that the second is no replay of the first."""
    first, second = (sign_link(IDENTITY, "a.test", "b.test", bytes([n]) * NONCE_BYTES, 1.0) for n in range(2))
    assert first["Authorization"] != second["Authorization"]


@pytest.mark.parametrize(
    "header", [None, "", NONCE.hex().upper()[:-1] + "F", NONCE.hex() + "00", NONCE.hex()[1:], "é" * 32]
)
def test_a_nonce_that_is_none(header: str | None) -> None:
    """It is refused with what is expected."""
    with pytest.raises(BadPostSignature, match="RMB-Nonce must be 32 hex digits"):
        parse_nonce(header)


@given(st.text())
def test_any_nonce(header: str) -> None:
    """Noise is refused, never a crash."""
    with contextlib.suppress(BadPostSignature):
        assert len(parse_nonce(header)) == NONCE_BYTES
