"""Every number of the protocol with its source, and which of upstream's weaknesses are mended.

All nodes of a topic are assumed to share one profile; nothing is negotiated (spec gossip 1).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """HyParView (spec gossip 2.1). The first seven defaults come from the paper, the durations are upstream's guesses.

    Attributes:
        active_capacity: most peers in the active view.
        passive_capacity: most peers in the passive view.
        active_walk_ttl: initial ttl of a ForwardJoin (ARWL).
        passive_walk_ttl: ttl at which a hop stores the newcomer in its passive view (PRWL).
        shuffle_walk_ttl: initial ttl of a Shuffle.
        shuffle_active: active peers put in a Shuffle.
        shuffle_passive: passive peers put in a Shuffle.
        shuffle_interval_s: period of the shuffle timer.
        neighbor_timeout_s: wait for the answer to a request for a link.
    """

    active_capacity: int = 5
    passive_capacity: int = 30
    active_walk_ttl: int = 6
    passive_walk_ttl: int = 3
    shuffle_walk_ttl: int = 6
    shuffle_active: int = 3
    shuffle_passive: int = 4
    shuffle_interval_s: float = 60.0
    neighbor_timeout_s: float = 0.5


@dataclass(frozen=True, slots=True)
class BroadcastConfig:
    """PlumTree (spec gossip 2.2). The threshold comes from the paper; upstream calls the three timeouts guesses.

    Attributes:
        graft_first_s: from the first announcement of an unknown message to the first Graft.
        graft_next_s: from a Graft to the next attempt at another announcer.
        announce_after_s: batching window of announcements.
        optimization_hops: by how many hops another way must be shorter to be taken; see spec gossip 7.8.
        payload_retention_s: how long a payload can be sent again.
        id_retention_s: how long an id is remembered.
        evict_interval_s: period of the sweep.
    """

    graft_first_s: float = 0.08
    graft_next_s: float = 0.04
    announce_after_s: float = 0.005
    optimization_hops: int = 7
    payload_retention_s: float = 30.0
    id_retention_s: float = 90.0
    evict_interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole configuration.

    Attributes:
        name: for reports.
        membership: the overlay.
        broadcast: the tree.
        message_bytes_max: largest encoded message (spec gossip 2.3).
    """

    name: str
    membership: MembershipConfig = field(default_factory=MembershipConfig)
    broadcast: BroadcastConfig = field(default_factory=BroadcastConfig)
    message_bytes_max: int = 4096

    @staticmethod
    def upstream() -> "Profile":
        """Exactly iroh-gossip 0.101.0, as the specification describes it."""
        return Profile("upstream")

    @staticmethod
    def ours() -> "Profile":
        """The default: upstream with its weaknesses mended (spec gossip 18)."""
        return Profile("ours")
