"""State that outlives connections."""

from relay.lasting import Lasting


def test_reconnecting_finds_the_same_state() -> None:
    """A twin that comes back, and each of its sessions, has what it had."""
    states: Lasting[list[int]] = Lasting(list, 10)
    states.connect(7).append(1)
    assert states.connect(7) == [1]
    states.disconnect(7)
    assert states[7] == [1]
    states.disconnect(7)
    assert states.connect(7) == [1]
    assert states.connect(8) == []


def test_only_absent_twins_are_forgotten() -> None:
    """The one that left longest ago first; a connected one never, however many come and go (spec rmb 10.13)."""
    states: Lasting[list[int]] = Lasting(list, 3)
    states.connect(7).append(7)
    for twin in range(100, 200):
        states.connect(twin).append(twin)
        states.disconnect(twin)
    assert len(states) == 1 + 3
    assert states[7] == [7]
    assert states.connect(197) == [197]
    assert states.connect(196) == []


def test_an_empty_state_is_a_state() -> None:
    """What is falsy is remembered all the same."""
    states: Lasting[list[int]] = Lasting(list, 3)
    first = states.connect(7)
    states.disconnect(7)
    assert states.connect(7) is first
