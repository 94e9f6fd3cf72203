"""What a follower decides about heads."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.registry.tfchain.following import STALL_S, Ask, Decision, Flush, Following, Replay, Rest
from rmb_peer.registry.tfchain.header import Header

NOBODY: frozenset[int] = frozenset()


class Clock:
    """Time stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def block(number: int, branch: str = "a", parent_branch: str | None = None) -> Header:
    """Block `number` of a branch; its parent is in the same branch unless said otherwise."""
    return Header(number, f"{branch}{number}", f"{parent_branch or branch}{number - 1}")


def following(**changes: int | float) -> Following:
    options: dict[str, int | float] = {"catchup_blocks_max": 5, "remembered_blocks": 4} | changes
    clock = Clock()
    return Following(
        clock=clock,
        catchup_blocks_max=int(options["catchup_blocks_max"]),
        remembered_blocks=int(options["remembered_blocks"]),
    )


def replay(position: Following, decision: Decision, twins: frozenset[int] = NOBODY) -> list[int]:
    """Carry a replay out; the numbers of its blocks."""
    assert isinstance(decision, Replay)
    for one in decision.blocks:
        position.on_replayed(one, twins)
    return [one.number for one in decision.blocks]


def at(number: int, **changes: int | float) -> Following:
    """A follower that has followed branch `a` from block 1 up to a block."""
    position = following(**changes)
    position.on_head(block(1))
    for one in range(2, number + 1):
        replay(position, position.on_head(block(one)), frozenset({one}))
    return position


def test_the_first_head_is_where_it_starts() -> None:
    """What was read before the first head may be old; nothing is replayed."""
    position = following()
    assert position.last is None
    assert position.on_head(block(7)) == Flush(block(7), "start")
    assert position.last == block(7)


def test_the_next_head_is_replayed() -> None:
    """One block, no question."""
    assert at(3).on_head(block(4)) == Replay((block(4),))


def test_a_head_that_is_said_again_is_nothing_new() -> None:
    """The same head, and one before it: a node that is behind."""
    position = at(5)
    assert position.on_head(block(5)) == Rest()
    assert position.on_head(block(4)) == Rest()
    assert position.last == block(5)


def test_skipped_heads_are_asked_for_back_to_the_last_one() -> None:
    """Three were skipped: headers are asked for, newest first; replayed oldest first."""
    position = at(3)
    decision = position.on_head(block(7))
    for number in (6, 5, 4):
        assert decision == Ask(f"a{number}")
        decision = position.on_header(block(number))
    assert replay(position, decision) == [4, 5, 6, 7]
    assert position.last == block(7)


@pytest.mark.parametrize(("missed", "expected"), [(5, Ask), (6, Flush)])
def test_the_catch_up_threshold(missed: int, expected: type[Decision]) -> None:
    """As many missed blocks as the threshold are asked for; one more, and everything is doubtful."""
    position = at(3)
    assert isinstance(position.on_head(block(3 + missed)), expected)


def test_threshold_zero_never_asks() -> None:
    """Every gap is a flush, even the next block."""
    position = following(catchup_blocks_max=0)
    position.on_head(block(1))
    assert isinstance(position.on_head(block(2)), Flush)


def test_a_reorganised_head_undoes_the_abandoned_blocks() -> None:
    """What blocks 3 and 4 said about twins is forgotten, then the branch is replayed from its root."""
    position = at(4)
    decision = position.on_head(block(5, "b"))
    assert decision == Ask("b4")
    assert position.on_header(block(4, "b")) == Ask("b3")
    decision = position.on_header(block(3, "b", "a"))
    assert decision == Replay((block(3, "b", "a"), block(4, "b"), block(5, "b")), frozenset({3, 4}))
    assert replay(position, decision) == [3, 4, 5]
    assert position.on_head(block(4)) != Rest(), "the abandoned block is not known any more"


def test_a_branch_of_the_same_height_or_lower_is_followed() -> None:
    """The node says which chain is best, whatever its height."""
    position = at(4)
    assert position.on_head(block(4, "b", "a")) == Replay((block(4, "b", "a"),), frozenset({4}))
    position = at(4)
    assert position.on_head(block(3, "b", "a")) == Replay((block(3, "b", "a"),), frozenset({3, 4}))


def test_a_branch_from_before_what_is_remembered_is_a_flush() -> None:
    """Four blocks are remembered: a branch from the oldest of them is undone, an older one is not."""
    position = at(9)
    decision = position.on_head(block(7, "b", "a"))
    assert decision == Replay((block(7, "b", "a"),), frozenset({7, 8, 9}))
    position = at(9)
    assert position.on_head(block(6, "b", "a")) == Flush(block(6, "b", "a"), "the chain was reorganised too deep")


def test_a_chain_that_began_anew_is_a_flush() -> None:
    """Much lower numbers of another chain lead nowhere."""
    position = at(9)
    assert isinstance(position.on_head(block(1, "z")), Flush)
    assert position.last == block(1, "z")


def test_headers_that_do_not_fit_are_a_flush() -> None:
    """Another hash than asked for, or a number that jumps."""
    for wrong in (block(6, "x"), Header(5, "a6", "a5")):
        position = at(3)
        assert position.on_head(block(7)) == Ask("a6")
        assert isinstance(position.on_header(wrong), Flush)
        assert position.last == block(7)


def test_what_the_node_does_not_keep_is_a_flush_at_the_head() -> None:
    """A missing header, events of an old block, events that cannot be read; the position is the head."""
    position = at(3)
    position.on_head(block(5))
    assert position.on_missing() == Flush(block(5), "the node does not keep what was missed")
    position = at(3)
    position.on_head(block(5))
    position.on_header(block(4))
    position.on_replayed(block(4), NOBODY)
    assert position.on_unreadable() == Flush(block(5), "the events of a block cannot be read")
    assert position.last == block(5)


def test_a_lost_connection_goes_on_where_it_was() -> None:
    """Half a replay is not repeated: the rest is asked for again."""
    position = at(3)
    position.on_head(block(5))
    position.on_header(block(4))
    position.on_replayed(block(4), NOBODY)
    position.connected()
    assert position.on_head(block(6)) == Ask("a5")
    assert replay(position, position.on_header(block(5))) == [5, 6]


def test_patience_is_from_the_last_news() -> None:
    """A new block renews it, a repeated head does not, a new connection does."""
    clock = Clock()
    position = Following(clock=clock)
    assert position.patience_s() == STALL_S
    clock.now += 10
    position.on_head(block(1))
    assert position.patience_s() == STALL_S
    clock.now += STALL_S - 1
    position.on_head(block(1))
    assert position.patience_s() == 1
    clock.now += 1
    assert position.patience_s() == 0, "a stall"
    position.connected()
    assert position.patience_s() == STALL_S
    clock.now += 5
    replay(position, position.on_head(block(2)))
    assert position.patience_s() == STALL_S


@dataclass
class World:
    """A chain that grows and branches, and a memory that a follower keeps right."""

    parents: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=lambda: {"root": 0})
    says: dict[str, dict[int, str]] = field(default_factory=lambda: {"root": {}})

    def add(self, parent: str, twins: set[int]) -> str:
        name = f"n{len(self.numbers)}"
        self.parents[name], self.numbers[name] = parent, self.numbers[parent] + 1
        self.says[name] = dict.fromkeys(twins, name)
        return name

    def header(self, name: str) -> Header:
        return Header(self.numbers[name], name, self.parents.get(name, "nothing"))

    def value(self, name: str, twin: int) -> str:
        while twin not in self.says[name] and name in self.parents:
            name = self.parents[name]
        return self.says[name].get(twin, "never")


ops = st.lists(
    st.tuples(
        st.sampled_from(["grow", "grow", "grow", "branch", "announce", "announce", "announce-old", "read", "lose"]),
        st.integers(0, 100),
        st.sets(st.integers(1, 4), max_size=2),
    ),
    max_size=60,
)


@given(ops, st.integers(0, 6), st.integers(1, 6))
def test_what_is_believed_is_what_the_best_chain_says(
    steps: list[tuple[str, int, set[int]]], threshold: int, remembered: int
) -> None:
    """Whatever grows, branches, is skipped or gets lost: after each head, nothing wrong is believed."""
    world = World()
    position = Following(clock=Clock(), catchup_blocks_max=threshold, remembered_blocks=remembered)
    believed: dict[int, str] = {}
    best, names = "root", ["root"]
    for op, number, twins in steps:
        if op == "grow":
            names.append(best := world.add(best, twins))
        elif op == "branch":
            names.append(best := world.add(names[number % len(names)], twins))
        elif op == "read" and position.last is not None:
            for twin in twins:
                believed[twin] = world.value(position.last.hash, twin)
        elif op.startswith("announce") or op == "lose":
            head = names[number % len(names)] if op == "announce-old" else best
            carry_out(world, position, world.header(head), believed, fails_after=number % 4 if op == "lose" else None)
            assert position.last is not None
            for twin, value in believed.items():
                assert value == world.value(position.last.hash, twin)
            if op == "announce":
                assert position.last.hash == best or isinstance(position.on_head(world.header(best)), Rest)


def carry_out(
    world: World, position: Following, head: Header, believed: dict[int, str], fails_after: int | None
) -> None:
    """What the driver does; with `fails_after`, the connection is lost after so many answers."""
    left = fails_after
    decision = position.on_head(head)
    while not isinstance(decision, Rest):
        if isinstance(decision, Flush):
            believed.clear()
            return None
        if isinstance(decision, Ask):
            if left == 0:
                return position.connected()
            decision = position.on_header(world.header(decision.hash))
            left = None if left is None else left - 1
            continue
        for twin in decision.forget:
            believed.pop(twin, None)
        for one in decision.blocks:
            if left == 0:
                return position.connected()
            believed.update({t: v for t, v in world.says[one.hash].items() if t in believed})
            position.on_replayed(one, frozenset(world.says[one.hash]))
            left = None if left is None else left - 1
        return None
    return None
