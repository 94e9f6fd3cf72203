"""The shape of the overlay at one instant: components, view sizes, broken links. It reads views and changes nothing.

A link exists where at least one live side lists the other (spec gossip 16.4, 17.2); a link that only one side lists is
counted as asymmetric as well.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a picture of all live views says."""

    nodes: int
    components: int
    outside: int  # live nodes that are not in the largest component
    isolated: int  # live nodes without any link
    asymmetric: int  # links between live nodes that one side lists and the other does not
    dead_entries: int  # entries of nodes that are gone, in views of live ones
    full: int  # live nodes whose view has reached `capacity`
    active_entries: int
    passive_entries: int

    def measures(self) -> dict[str, float]:
        """The figures by the names that scenario files use."""
        return {
            "components": self.components,
            "outside": self.outside,
            "isolated": self.isolated,
            "asymmetric": self.asymmetric,
            "dead_entries": self.dead_entries,
            "full_percent": 100 * self.full / self.nodes,
            "mean_active": self.active_entries / self.nodes,
            "mean_passive": self.passive_entries / self.nodes,
        }


def look(active: Mapping[int, Collection[int]], passive: Mapping[int, Collection[int]], capacity: int) -> Overlay:
    """Measure the overlay.

    Args:
        active: The active view of every live node.
        passive: The passive view of every live node.
        capacity: The view size that counts as full; in a swarm too small for it, everybody else is full.
    """
    links: dict[int, set[int]] = {node: set() for node in active}
    asymmetric = dead_entries = full = active_entries = 0
    enough = min(capacity, len(active) - 1)
    for node, view in active.items():
        active_entries += len(view)
        live = 0
        for peer in view:
            if peer not in active:
                dead_entries += 1
                continue
            live += 1
            links[node].add(peer)
            links[peer].add(node)
            asymmetric += node not in active[peer]
        full += live >= enough
    sizes = component_sizes(links)
    return Overlay(
        nodes=len(active),
        components=len(sizes),
        outside=len(active) - max(sizes, default=0),
        isolated=sum(not peers for peers in links.values()),
        asymmetric=asymmetric,
        dead_entries=dead_entries,
        full=full,
        active_entries=active_entries,
        passive_entries=sum(map(len, passive.values())),
    )


def component_sizes(links: Mapping[int, Collection[int]]) -> list[int]:
    """Sizes of the connected components of an undirected graph, in the order in which they are found."""
    unseen = set(links)
    sizes = []
    for start in links:
        if start not in unseen:
            continue
        unseen.discard(start)
        waiting, size = [start], 0
        while waiting:
            node = waiting.pop()
            size += 1
            for peer in links[node]:
                if peer in unseen:
                    unseen.discard(peer)
                    waiting.append(peer)
        sizes.append(size)
    return sizes
