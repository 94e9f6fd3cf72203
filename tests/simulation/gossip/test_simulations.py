"""Short simulations: the faithful profile lands on the anchor, ours keeps its promises. Seconds of processor time.

Everything follows from the seed, so that a test gives the same figures every time until the core changes.
"""

import dataclasses

import pytest

from tests.simulation.gossip.checking import broken, run, scenario
from tests.simulation.gossip.steps import Bootstrap, Crash, Faults, Idle, Look, Rounds
from tests.simulation.gossip.story import play


@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("GossipSingle-n20-r30", 8),
        ("GossipSingle-n100-r30", 2),
        ("GossipMulti-n20-r30", 8),
        ("GossipMulti-n100-r30", 2),
    ],
)
def test_faithful_profile_lands_on_the_anchor(name: str, seeds: int) -> None:
    """Within two standard deviations of spec gossip 16.3; nothing missed."""
    assert broken(run(scenario("anchor", name, seeds=seeds))) == []


def test_faithful_profile_lands_on_the_anchor_when_all_send() -> None:
    """The same for GossipAll, with fewer rounds of more seeds."""
    assert broken(run(scenario("anchor", "GossipAll-n20-r30", seeds=4, steps=(Bootstrap(), Rounds(6, "all"))))) == []


@pytest.mark.parametrize("name", ["membership", "multiple-senders", "single-sender"])
def test_upstreams_assertions_hold_for_both_profiles(name: str) -> None:
    """Spec gossip 15.6."""
    wanted = scenario("assertions", name, seeds=1)
    absolute = tuple(promise for promise in wanted.expect if promise.within_sds is None)  # the anchor needs more seeds
    assert broken(run(dataclasses.replace(wanted, expect=absolute))) == []


def test_same_seed_same_run_and_another_seed_another() -> None:
    """A run can be repeated exactly; its seed is what makes it."""
    wanted = scenario("anchor", "GossipMulti-n20-r30")
    one, again, other = (play(wanted, "ours", seed) for seed in (1, 1, 2))
    assert (one.measures, one.rounds, one.events) == (again.measures, again.rounds, again.events)
    assert one.rounds != other.rounds


def test_ours_repairs_what_loss_takes() -> None:
    """Spec gossip 17.1, 5 % loss: nothing missed within 3 s."""
    steps = (Bootstrap(), Faults(loss=0.05), Rounds(20, deadline_s=3, pause_s=5), Look())
    assert broken(run(scenario("loss", "loss-05-n100", profiles=("ours",), seeds=1, steps=steps))) == []


def test_ours_heals_after_half_of_the_nodes_crash_silently() -> None:
    """Spec gossip 17.2: one component, no dead neighbour, everything delivered."""
    steps = (
        Bootstrap(),
        Rounds(5, label="before", pause_s=1),
        Crash(0.5),
        Idle(60),
        Rounds(5, deadline_s=3, pause_s=1, label="later"),
        Look("end"),
    )
    assert broken(run(scenario("crash", "silent-50-n100", profiles=("ours",), seeds=1, steps=steps))) == []


@pytest.mark.parametrize("name", ["equal-payloads", "neighbors-only", "leave", "disorder", "ordered", "late-joiners"])
def test_ours_on_rough_ground(name: str) -> None:
    """Weaknesses W6 and W7, 17.3, and a network that carries twice and out of order, with 40 nodes."""
    assert broken(run(scenario("rough", name, profiles=("ours",), seeds=1, nodes=40))) == []
