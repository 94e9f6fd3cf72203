"""Identifiers derived from outbox entries."""

import hashlib
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.uids import once_id, request_uid

ENTRIES = st.from_regex(r"[0-9]{1,20}-[0-9]{1,20}", fullmatch=True)


@given(ENTRIES)
def test_a_uid_has_the_form_of_a_random_uuid(entry: str) -> None:
    """It is what the standard library makes of the same digest."""
    digest = hashlib.blake2b(entry.encode(), key=b"k" * 32, digest_size=16, person=b"rmb uid").digest()
    assert request_uid(b"k" * 32, entry) == str(UUID(bytes=digest, version=4))


@given(ENTRIES, ENTRIES)
def test_entries_and_keys_make_different_uids(one: str, other: str) -> None:
    """The same entry gives the same again; another entry or key gives another."""
    assert (request_uid(b"k" * 32, one) == request_uid(b"k" * 32, other)) == (one == other)
    assert request_uid(b"k" * 32, one) != request_uid(b"l" * 32, one)
    assert once_id(b"k" * 32, one, 0) != once_id(b"k" * 32, one, 1)
