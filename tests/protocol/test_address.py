"""Addresses: text, protobuf, and the difference between an absent and an empty session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.address import TWIN_ID_MAX, Address
from rmb_peer.protocol.pb.envelope_pb2 import Address as AddressMessage
from tests.support.envelopes import U32, texts

addresses = st.builds(Address, U32, st.none() | texts)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("7", Address(7), id="twin"),
        pytest.param("7:", Address(7, ""), id="empty-session"),
        pytest.param("7:abc", Address(7, "abc"), id="session"),
        pytest.param("7:a:b", Address(7, "a:b"), id="first-colon-splits"),
        pytest.param("0", Address(0), id="nobody"),
        pytest.param("4294967295", Address(TWIN_ID_MAX), id="largest"),
        pytest.param("7:\u00fc \u4f60", Address(7, "\u00fc \u4f60"), id="any-text-as-session"),
    ],
)
def test_text_form(text: str, address: Address) -> None:
    """`<twin>` and `<twin>:<session>` are read and written (spec 1, 5.4)."""
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", ":abc", "x", "-1", "+1", "1.0", " 1", "1 ", "1_0", "0x1", "4294967296", "9" * 5000, "\u0663", "\u00b2"],
)
def test_text_without_a_twin_id_is_refused(text: str) -> None:
    """Anything but an ASCII u32 before the colon is refused with a text that says so, however long it is."""
    with pytest.raises(ValueError, match="is not a twin id: expected a number from 0 to 4294967295") as caught:
        Address.parse(text)
    assert len(str(caught.value)) < 150


def test_a_session_that_is_no_text_is_refused() -> None:
    """A lone surrogate, as undecodable arguments of a command contain, is refused where it enters."""
    with pytest.raises(ValueError, match="session id is not valid text") as caught:
        Address.parse("7:\udcff")
    assert type(caught.value) is ValueError


def test_absent_and_empty_sessions_differ() -> None:
    """`(7, none)` and `(7, "")` are separate sessions, as text, as value and on the wire (spec 1)."""
    none, empty = Address(7), Address(7, "")
    assert none != empty
    assert str(none) != str(empty)
    none_message, empty_message = AddressMessage(), AddressMessage()
    none.write_to(none_message)
    empty.write_to(empty_message)
    assert (none_message.SerializeToString(), empty_message.SerializeToString()) == (b"\x08\x07", b"\x08\x07\x12\x00")


def test_writing_replaces_what_was_there() -> None:
    """An address written over another leaves nothing of it, the session included."""
    message = AddressMessage(twin=9, connection="old")
    Address(7).write_to(message)
    assert message == AddressMessage(twin=7)
    assert not message.HasField("connection")


@given(addresses)
def test_round_trip(address: Address) -> None:
    """Text and protobuf form give back the same address."""
    message = AddressMessage()
    address.write_to(message)
    assert Address.from_message(AddressMessage.FromString(message.SerializeToString())) == address
    assert Address.parse(str(address)) == address


@given(st.text(st.characters()))
def test_noise_never_crashes(text: str) -> None:
    """Any text is an address or a ValueError of ours, never an encoding error later."""
    try:
        address = Address.parse(text)
    except ValueError as error:
        assert type(error) is ValueError
    else:
        address.write_to(AddressMessage())
