"""The referee judges as spec gossip 15.4 says."""

import pytest

from tests.simulation.gossip.referee import Referee, Round, summary


def test_round_is_complete_at_the_last_delivery() -> None:
    """Duration, hops and completeness of one message to three receivers."""
    referee = Referee()
    judged = referee.begin(10.0, 5.0)
    referee.sent(9, b"a", [1, 2, 3])
    assert not referee.delivered(1, b"a", 0, 10.1)
    assert not referee.delivered(2, b"a", 4, 10.2)
    assert referee.delivered(3, b"a", 1, 10.3)
    assert (judged.expected, judged.delivered, judged.last_hop, judged.last_s) == (3, 3, 4, 10.3)


def test_late_delivery_counts_as_missed_and_late_in_its_own_round() -> None:
    """What comes after the deadline does not improve the round, nor the next one."""
    referee = Referee()
    first = referee.begin(0.0, 1.0)
    referee.sent(9, b"a", [1, 2])
    referee.delivered(1, b"a", 0, 0.5)
    second = referee.begin(1.0, 1.0)
    referee.sent(9, b"b", [1])
    assert not referee.delivered(2, b"a", 0, 1.5)
    assert referee.delivered(1, b"b", 0, 1.6)
    assert (first.delivered, first.late, second.delivered) == (1, 1, 1)
    assert referee.outstanding() == 0
    assert summary([first, second], 3)["missed"] == 1


def test_order_is_judged_per_author_and_receiver() -> None:
    """A message after a later one of its author is out of order; other authors and receivers do not matter."""
    referee = Referee()
    referee.begin(0.0, 1.0)
    for author, content in ((8, b"a1"), (9, b"b1"), (8, b"a2")):
        referee.sent(author, content, [1, 2])
    for node, content in ((1, b"a2"), (1, b"b1"), (2, b"a1"), (2, b"a2")):
        referee.delivered(node, content, 0, 0.1)
    assert referee.out_of_order == 0
    referee.delivered(1, b"a1", 0, 0.2)
    assert referee.out_of_order == 1


def test_second_delivery_is_a_fault() -> None:
    """A message that comes twice to one application is counted, once is not."""
    referee = Referee()
    referee.begin(0.0, 1.0)
    referee.sent(9, b"a", [1, 2])
    referee.delivered(1, b"a", 0, 0.1)
    assert referee.delivered_twice == 0
    referee.delivered(1, b"a", 0, 0.2)
    assert referee.delivered_twice == 1


def test_unknown_content_stops_the_run() -> None:
    """A delivery of something nobody sent is a fault of the simulator or of the core."""
    with pytest.raises(AssertionError, match="nobody sent"):
        Referee().delivered(1, b"x", 0, 0.0)


def test_nobody_expects_deliveries_to_the_dead() -> None:
    """A crash lowers what is expected; a crash of the last one waited for leaves nothing open."""
    referee = Referee()
    judged = referee.begin(0.0, 1.0)
    referee.sent(9, b"a", [1, 2])
    referee.delivered(1, b"a", 0, 0.1)
    referee.gone(2)
    assert (judged.expected, judged.delivered, judged.open) == (1, 1, 0)


def test_redundancy_is_upstreams_formula() -> None:
    """A perfect tree among 20 scores 1 / (N - 2) (spec gossip 15.4)."""
    assert Round(0, 1, delivered=19, payloads=19).rmr == pytest.approx(0.0556, abs=1e-4)
    assert Round(0, 1, delivered=1, payloads=1).rmr == 0


def test_somebody_who_came_later_is_welcome_but_not_expected() -> None:
    """A delivery to a node that was not there at the broadcast changes no figure."""
    referee = Referee()
    judged = referee.begin(0.0, 1.0)
    referee.sent(9, b"a", [1])
    assert not referee.delivered(7, b"a", 0, 0.1)
    assert judged.delivered == 0
