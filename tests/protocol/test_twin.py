"""A twin is a value: it compares by content and cannot change under whoever holds it."""

import dataclasses

import pytest

from rmb_peer.protocol.twin import Twin


def test_twins_compare_by_content() -> None:
    """Relays are a set: their order does not make another twin (appendix C 20)."""
    first = Twin(7, bytes(32), frozenset(("a.tf", "b.tf")), None)
    assert first == Twin(7, bytes(32), frozenset(("b.tf", "a.tf")), None, version=0)
    assert first != dataclasses.replace(first, version=1)


def test_a_twin_cannot_change() -> None:
    """A cached twin stays what the registry said."""
    twin = Twin(7, bytes(32), frozenset(), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        twin.version = 2  # type: ignore[misc]
    assert hash(twin) == hash(Twin(7, bytes(32), frozenset(), None))
