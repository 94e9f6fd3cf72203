"""The names of what is in the store, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.keys import (
    mailbox_field,
    mailbox_key,
    owner_of_field,
    owner_of_mailbox,
    stored_key,
    twin_of_stored,
)
from rmb_peer.protocol.address import TWIN_ID_MAX, Address
from tests.support.envelopes import texts


@given(st.integers(0, TWIN_ID_MAX), st.none() | texts, st.booleans())
def test_names_can_be_read_back(twin: int, session: str | None, cluster: bool) -> None:
    """Every mailbox, in both layouts, and its counters."""
    owner = Address(twin, session)
    assert owner_of_mailbox(mailbox_key(owner, cluster=cluster).encode()) == owner
    assert owner_of_field(twin, mailbox_field(owner).encode()) == owner
    assert twin_of_stored(stored_key(twin).encode()) == twin


@given(st.binary(max_size=30))
def test_noise_is_no_name(noise: bytes) -> None:
    """Whatever else is in a shared store, reading its keys raises nothing."""
    for text in (noise, b"stream:" + noise, b"relay.stored:{" + noise + b"}", b"m:" + noise):
        owner = owner_of_mailbox(text)
        assert owner is None or mailbox_key(owner).encode().startswith(b"stream:")
        twin_of_stored(text)
        owner_of_field(7, text)


@pytest.mark.parametrize("key", [b"stream:x", b"stream:", b"stream:07", b"stream:7:\xff", b"streams:7", b"stream:{7"])
def test_what_is_no_mailbox(key: bytes) -> None:
    """Other programs' keys are left alone."""
    assert owner_of_mailbox(key) is None
