"""Chunks of the journal: what was packed comes back; what is no chunk harms nobody."""

import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.local import journal_chunks
from rmb_peer.local.journal_chunks import Event, pack, unpack

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(st.integers(0, 2**53), TEXTS, TEXTS, st.dictionaries(TEXTS, st.none() | TEXTS)), max_size=20))
def test_events_come_back(events: list[tuple[int, str, str, dict[str, str | None]]]) -> None:
    """In order, with all fields."""
    assert unpack(pack(events)) == [Event(*event) for event in events]


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_no_chunk(noise: bytes, compressed: bool) -> None:
    """Any bytes, compressed or not, are refused or events."""
    found = unpack(zlib.compress(noise) if compressed else noise)
    assert found is None or all(isinstance(event, Event) for event in found)


@pytest.mark.parametrize("value", [None, 1, {}, [1], [[1, "u", "c"]], [["1", "u", "c", {}]], [[1, 2, "c", {}]]])
def test_other_json_is_no_chunk(value: object) -> None:
    """Only rows of time, uid, code and fields count."""
    assert unpack(zlib.compress(orjson.dumps(value))) is None


def test_a_bomb_is_no_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit a chunk is read; what unpacks to more is refused without unpacking it all."""
    chunk = pack([(1, "u" * 100, "c", {})])
    size = len(zlib.decompress(chunk))
    monkeypatch.setattr(journal_chunks, "CHUNK_BYTES_MAX", size)
    assert unpack(chunk) is not None
    monkeypatch.setattr(journal_chunks, "CHUNK_BYTES_MAX", size - 1)
    assert unpack(chunk) is None
