"""The table with a limit."""

from rmb_peer.registry.lru import Lru


def test_what_was_used_longest_ago_leaves() -> None:
    """At the limit the entry neither written nor read for longest makes room."""
    table: Lru[str, int] = Lru(2)
    table.put("a", 1)
    table.put("b", 2)
    assert table.get("a") == 1
    table.put("c", 3)
    assert [table.get(key) for key in "abc"] == [1, None, 3]
    table.put("a", 4)
    table.put("d", 5)
    assert [table.get(key) for key in "acd"] == [4, None, 5]
    assert len(table) == 2


def test_dropping_is_harmless() -> None:
    """An entry can be dropped whether it is there or not."""
    table: Lru[str, int] = Lru(2)
    table.put("a", 1)
    table.drop("a")
    table.drop("a")
    assert len(table) == 0
