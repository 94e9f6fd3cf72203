"""Every number of the protocol with its source, and which of upstream's weaknesses are mended.

All nodes of a topic are assumed to share one profile; nothing is negotiated (spec gossip 1). "Measured" means: chosen
with the simulator, see DESIGN.md.
"""

from dataclasses import dataclass, field, replace


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
class LinkConfig:
    """Liveness and round trips; ours.

    Attributes:
        heartbeat_s: a neighbor that was silent for this long is pinged. A guess.
        probe_s: an unanswered ping is repeated after this time, or after three round trips if that is longer. A guess.
        probes: so many pings without an answer, and the neighbor is gone. With a message loss of 20 % a live one is
            given up once in 500 suspicions: (1 - 0.8 * 0.8) ** 6.
        rtt_guess_s: round trip of a peer that was not measured yet; half of upstream's timeout for requests.
        rtt_max_s: longer ones count as this much, so that no timer grows without bound. A guess.
        tick_lonely_s: how often to look for something to do without any neighbor. A guess.
        tick_busy_s: how often to look while something is waiting (a join, a suspicion, a free place).
        tick_idle_s: how often to look otherwise; half of `heartbeat_s`.
    """

    heartbeat_s: float = 10.0
    probe_s: float = 1.0
    probes: int = 6
    rtt_guess_s: float = 0.25
    rtt_max_s: float = 2.0
    tick_lonely_s: float = 0.2
    tick_busy_s: float = 1.0
    tick_idle_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ContactConfig:
    """Coming back from isolation and partition; ours. All are guesses, checked with partitions of up to two hours.

    Attributes:
        retry_first_s: a join without result is repeated after this time, then after twice as long, and so on.
        retry_max_s: longest time between two attempts.
        recontact_s: how often one of the lost peers is tried.
        lost_max: lost peers remembered.
        lost_for_s: how long.
        bootstrap_max: bootstrap peers remembered.
        refused_for_s: a peer that refused is not asked again for this long, unless we are alone.
        joins_per_s: newcomers that may displace a neighbor; others are only passed on (weakness W5).
        joins_burst: so many at once.
    """

    retry_first_s: float = 0.5
    retry_max_s: float = 60.0
    recontact_s: float = 60.0
    lost_max: int = 64
    lost_for_s: float = 7 * 86400.0
    bootstrap_max: int = 32
    refused_for_s: float = 20.0
    joins_per_s: float = 20.0
    joins_burst: int = 2000


@dataclass(frozen=True, slots=True)
class TreeConfig:
    """How our tree is shaped.

    Attributes:
        eager_at_start: a new link begins eager only while there are fewer eager ones than this. Measured.
        graft_first_rtts: first Graft after so many of the longest round trip to a neighbor. Measured.
        graft_next_rtts: next attempt after so many round trips to the peer that was asked. Measured.
        announce_rtts: announcements wait for so many mean round trips, to be batched, and to be spared where the
            other announces first. Measured.
        wait_min_s: lower bound of these waits.
        wait_max_s: upper bound of these waits.
        announce_late_rtts: of the two ends of a lazy link one waits for so many more. Measured.
        prune_watch_rtts: while several messages are on their way, duplicates are watched for so many of the longest
            round trip to a neighbor before they prune. Measured.
        prune_quiet_rtts: after that, duplicates mean nothing for so long: they were sent before. Measured.
        graft_every: while the tree works for other messages, one of so many Grafts is one; the others only fetch.
        graft_tries: Grafts for one payload before repair has to find it.
    """

    eager_at_start: int = 5
    graft_first_rtts: float = 2.0
    graft_next_rtts: float = 1.5
    announce_rtts: float = 0.5
    announce_late_rtts: float = 1.5
    prune_watch_rtts: float = 3.0
    prune_quiet_rtts: float = 2.0
    wait_min_s: float = 0.02
    wait_max_s: float = 3.0
    graft_tries: int = 12
    graft_every: int = 16


@dataclass(frozen=True, slots=True)
class RepairConfig:
    """Comparison with neighbors, and asking again; ours.

    Attributes:
        tick_s: period of comparison while there is news. Measured: 17.1 counts what arrives within 3 s.
        digests_after_news: neighbors that are told, one per tick, after the last news. Measured at 20 % loss.
        idle_s: period of comparison without news. A guess.
        wait_s: a gap is left to the tree for this long, or for three of the longest round trips. A guess.
        tries: fetches for a gap before it is given up as lost.
        give_up_s: and at least this long.
        fetch_max: messages asked for at once.
        serve_per_s: messages sent on request per second and neighbor; more is dropped. A guess.
        history_max: most messages of a `HistoryRequest` that are served.
    """

    tick_s: float = 0.5
    digests_after_news: int = 5
    idle_s: float = 30.0
    wait_s: float = 0.3
    tries: int = 8
    give_up_s: float = 20.0
    fetch_max: int = 64
    serve_per_s: float = 500.0
    history_max: int = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of everything that peers can make grow (weakness W33). All are guesses on the generous side.

    Attributes:
        message_bytes_max: largest encoded message; the default is upstream's (spec gossip 2.3).
        authors: authors remembered for duplicates and gaps; the one that was silent longest goes.
        ahead: numbers that may be received beyond a gap, per author.
        payloads: payloads kept for others.
        payload_bytes: their bytes.
        missing: ids announced and not yet received.
        announcers: peers remembered for each.
        unannounced: announcements that wait, per neighbor.
        pending: requests for a link that wait for an answer.
        peer_data: addresses remembered.
        held_back: messages that wait for an earlier one of their author, per author.
    """

    message_bytes_max: int = 4096
    authors: int = 16384
    ahead: int = 1024
    payloads: int = 4096
    payload_bytes: int = 16 * 1024 * 1024
    missing: int = 4096
    announcers: int = 16
    unannounced: int = 4096
    pending: int = 64
    peer_data: int = 1024
    held_back: int = 1024


@dataclass(frozen=True, slots=True)
class Fixes:
    """What is mended, each by itself. Everything is off in `Profile.upstream()`, everything is on in ours.

    Attributes:
        explicit_answers: W1, stale pending marks: 40 % of nodes are stuck below five neighbors. A Neighbor says
            whether it answers; W23, W24: every request has a timer, and a refusal leads to the next candidate.
        join_retries: W2, lost Joins: with a loss of p, a share p of the nodes stays outside for ever. Joins are
            repeated, to all peers that are known, as long as there is no neighbor; W28: who is not subscribed says so.
        liveness: W3, silent crashes: 20 % of survivors cut off when half of 1000 nodes crash. Silent neighbors are
            pinged, and left when they do not answer.
        recontact: W4, partitions of 30 minutes never merge again. Lost peers are remembered and tried again.
        join_limit: W5, any newcomer forces an eviction: a bucket of tokens for those.
        separate_topics: W9, leaving one topic tears the links of the others.
        self_checks: W26, W29, W27: no message makes a node its own neighbor; a shuffle without a way to go is answered;
            addresses are taken only from their owner.
        author_identity: W6, W36: equal payloads are different messages; a message is author, life and number, signed by
            the author (W35), and is remembered as long as its author is.
        all_neighbors: W7, a neighbors-scope message reached only eager neighbors, possibly nobody.
        sender_is_eager: W8, who delivers first becomes eager, as in the paper.
        measured_timers: W10, RMR of 0.46 to 1.06, growing with latency: waits follow measured round trips; W32: one
            timer per missing message.
        gentle_start: W11, a new link begins lazy if there are enough eager ones, so that it does not add duplicates.
        careful_prunes: W11, bursts of many authors run at an RMR of 1.0 to 1.4, since every message prunes links that
            the others need: nodes prune for the same message.
        no_optimisation: W37, the optimisation of spec 7.8 is nearly inert. One that compares time instead of hops
            works, and makes the tree worse for all authors but the last (263 ms with it, 217 without). So: none.
        spare_announcements: W31, 2.2 to 3.0 control messages per delivery: no announcement to who has announced.
        repair: W12, W13, W14: digests, fetches, history; a graft that cannot be served is refused; what was broadcast
            while alone is found by the first neighbor.
        neighbors_only: W34, strangers cannot graft, prune or inject.
    """

    explicit_answers: bool = False
    join_retries: bool = False
    liveness: bool = False
    recontact: bool = False
    join_limit: bool = False
    separate_topics: bool = False
    self_checks: bool = False
    author_identity: bool = False
    all_neighbors: bool = False
    sender_is_eager: bool = False
    measured_timers: bool = False
    gentle_start: bool = False
    careful_prunes: bool = False
    no_optimisation: bool = False
    spare_announcements: bool = False
    repair: bool = False
    neighbors_only: bool = False

    @staticmethod
    def all() -> "Fixes":
        """Everything mended."""
        return Fixes(*([True] * 17))


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole configuration.

    Attributes:
        name: for reports.
        membership: the overlay.
        broadcast: the tree.
        fixes: which of the parts below are in use.
        links: liveness and round trips.
        contacts: retries.
        tree: the shape of our tree.
        repair: anti-entropy.
        limits: bounds.
    """

    name: str
    membership: MembershipConfig = field(default_factory=MembershipConfig)
    broadcast: BroadcastConfig = field(default_factory=BroadcastConfig)
    fixes: Fixes = field(default_factory=Fixes)
    links: LinkConfig = field(default_factory=LinkConfig)
    contacts: ContactConfig = field(default_factory=ContactConfig)
    tree: TreeConfig = field(default_factory=TreeConfig)
    repair: RepairConfig = field(default_factory=RepairConfig)
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def upstream() -> "Profile":
        """Exactly iroh-gossip 0.101.0, as the specification describes it."""
        return Profile("upstream")

    @staticmethod
    def ours() -> "Profile":
        """The default: upstream with its weaknesses mended (spec gossip 18)."""
        return Profile(
            "ours",
            membership=replace(MembershipConfig(), neighbor_timeout_s=1.0),
            broadcast=replace(BroadcastConfig(), payload_retention_s=600.0, id_retention_s=600.0),
            fixes=Fixes.all(),
        )
