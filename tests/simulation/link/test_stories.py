"""Gateway, relay and gateway over rmb.2 in a world that breaks: nothing missing, nothing doubled, order kept."""

import pytest

from tests.simulation.link.story import tell
from tests.simulation.link.world import Conditions

SEEDS = range(1, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled(seed: int) -> None:
    """Lines cut, parts crashed, stores slow; the real links, and onlookers that know nothing of them."""
    verdict = tell(seed)
    assert verdict.good, verdict
    assert verdict.cuts > 10, "the world was too kind to prove anything"
    assert verdict.crashes > 3
    assert verdict.accepted > 500


def test_a_kind_world_stores_nothing_that_it_can_forward() -> None:
    """Without faults the mailbox is hardly used, and nothing is sent twice."""
    verdict = tell(7, Conditions(cut_every_s=1e9, crash_every_s=1e9, slow_every_s=1e9))
    assert verdict.good, verdict
    assert verdict.repeats == 0
    assert verdict.forwarded > verdict.stored


def test_the_faults_are_felt() -> None:
    """Some message was sent again and recognised, and some was forwarded from memory: the story has both."""
    verdicts = [tell(1)]
    assert sum(verdict.repeats for verdict in verdicts) > 0
    assert sum(verdict.forwarded for verdict in verdicts) > 0


def test_a_careless_relay_is_found_out() -> None:
    """The onlookers notice when newer messages can overtake older ones in a crash."""
    assert any(tell(seed, Conditions(careless=True)).out_of_order for seed in range(1, 9))
