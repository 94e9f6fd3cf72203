"""The overlay's figures, on graphs small enough to count by hand."""

from tests.simulation.gossip.overlay import component_sizes, look


def test_two_components_one_asymmetric_link_one_dead_entry() -> None:
    """Every figure of a graph of six live nodes and one dead entry."""
    active = {0: [1, 2], 1: [0, 2], 2: [0], 3: [4, 9], 4: [3], 5: []}
    seen = look(active, {0: [3, 4], 1: []}, capacity=2)
    assert seen.components == 3
    assert seen.outside == 3
    assert seen.isolated == 1
    assert seen.asymmetric == 1  # 1 lists 2, 2 does not list 1
    assert seen.dead_entries == 1
    assert seen.full == 2
    assert seen.measures()["mean_active"] == 8 / 6
    assert seen.measures()["mean_passive"] == 2 / 6


def test_everybody_else_is_full_in_a_tiny_swarm() -> None:
    """A swarm smaller than the view counts as full when everybody knows everybody."""
    assert look({0: [1], 1: [0]}, {}, capacity=5).measures()["full_percent"] == 100


def test_component_sizes_of_a_chain_and_a_loner() -> None:
    """A long chain is one component, and finding it needs no recursion."""
    chain = {number: {number - 1, number + 1} for number in range(1, 4999)} | {0: {1}, 4999: {4998}, 5000: set()}
    assert sorted(component_sizes(chain)) == [1, 5000]
