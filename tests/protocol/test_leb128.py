"""Numbers in seven-bit pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.leb128 import unsigned
from rmb_peer.protocol.pb.envelope_pb2 import Envelope


@pytest.mark.parametrize(
    ("value", "written"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (624485, "e58e26")]
)
def test_known_numbers(value: int, written: str) -> None:
    """Those of the protobuf documentation and of the DWARF standard among them."""
    assert unsigned(value).hex() == written


@given(st.integers(1, 2**64 - 1))
def test_as_protobuf_writes_them(value: int) -> None:
    """Behind the byte that says which field it is stand the same bytes as Google's library writes."""
    assert unsigned(value) == Envelope(timestamp=value).SerializeToString()[1:]
