"""Every counter of the relay, defined once, and their text form for `/metrics` (spec rmb 6.11).

Names are those that existing dashboards ask for. prometheus-client adds `_total` to every counter, which four of these
names do not have; so the text of ours is written here, and only the process metrics come from it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from relay.histogram import Histogram
from relay.mailboxes import Stored, Why
from rmb_peer.protocol.link.endings import Ending

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Eviction = Literal["closed", "back_pressure_timeout", "cancelled"]
"""Why a session ended: by its client or a lost link; because it did not take what was sent; because we wanted to."""

ListenerStage = Literal["decode", "cache_set"]
"""Where a block's events could not be used. The second never happens here: our cache is in memory."""

_Family = tuple[str, str, str, Sequence[tuple[str, float]]]
"""Name, type, help, and samples as labels and value."""

_WORKER = 'worker="0"'
"""This process is one worker; the label exists for dashboards that sum over it."""


def _none() -> int:
    return 0


def _no_families() -> Iterator[_Family]:
    return iter(())


@dataclass(slots=True)
class Metrics:
    """Counts. Whoever does something counts it; nothing here acts.

    Attributes:
        message_rx, message_rx_bytes: envelopes appended to mailboxes.
        message_tx, message_tx_bytes: envelopes written to connections.
        evictions: sessions that ended, by reason.
        refusals: envelopes and requests refused, by a short fixed reason.
        slowed_s: how long clients were not read because their twins were too fast, together.
        signins: connections opened.
        append_failures: appends that the store did not do.
        confirmations: entries that a client is known to have read.
        poison: mailbox entries deleted because of their shape.
        replies_dropped: answers to a client that could neither be stored nor sent.
        dropped: envelopes that were dropped after they had been stored, by reason; see `expiring`.
        stored: how much is stored in all, as of some seconds ago.
        repeats: posts of other relays that were here before.
        told: errors about what was dropped later, by what became of them; see `telling`.
        cache_hits, cache_misses: destinations that were known, or had to be looked up.
        link_frames_in, link_frames_out: frames of rmb.2.
        endings: how envelopes that came over rmb.2 have ended, by `Ending`.
        direct: envelopes that went to a connected session without the store.
        backed_up: those of them that had to be stored after all.
        cache_flushes: times that every record remembered became doubtful.
        cache_entries: tells how many records are remembered.
        chain_reconnecting: whether there is no connection to the chain's new blocks, and there should be.
        chain_reconnects: attempts to get one again.
        chain_errors: blocks whose events could not be used, by stage.
        chain_block: the newest block whose events were taken over.
        chain_stored, chain_updated: twins that were created or changed on chain.
        sessions: tells how many are connected.
        links: tells how many links other relays have to this one.
        federation: tells about other relays, see `relay.federation.metrics`.
        written: how long envelopes took from here to being written to their receiver, mailbox included.
        confirmed: the same until the receiver confirmed them.
    """

    message_rx: int = 0
    message_rx_bytes: int = 0
    message_tx: int = 0
    message_tx_bytes: int = 0
    evictions: Counter[Eviction] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    slowed_s: float = 0.0
    signins: int = 0
    append_failures: int = 0
    confirmations: int = 0
    poison: int = 0
    replies_dropped: int = 0
    dropped: Counter[Why] = field(default_factory=Counter)
    stored: Stored = field(default_factory=Stored)
    repeats: int = 0
    told: Counter[str] = field(default_factory=Counter)
    cache_hits: int = 0
    cache_misses: int = 0
    link_frames_in: int = 0
    link_frames_out: int = 0
    endings: list[int] = field(default_factory=lambda: [0] * len(Ending))
    direct: int = 0
    backed_up: int = 0
    cache_flushes: int = 0
    cache_entries: Callable[[], int] = _none
    chain_reconnecting: bool = False
    chain_reconnects: int = 0
    chain_errors: Counter[ListenerStage] = field(default_factory=Counter)
    chain_block: int = 0
    chain_stored: int = 0
    chain_updated: int = 0
    sessions: Callable[[], int] = _none
    links: Callable[[], int] = _none
    federation: Callable[[], Iterator[_Family]] = _no_families
    written: Histogram = field(default_factory=Histogram)
    confirmed: Histogram = field(default_factory=Histogram)

    def _families(self) -> Iterator[_Family]:
        def counter(name: str, text: str, value: float) -> _Family:
            return name, "counter", text, [("", value)]

        sessions = [(_WORKER, self.sessions())]
        evictions: tuple[Eviction, ...] = ("closed", "back_pressure_timeout", "cancelled")
        ended = [(f'reason="{reason}"', self.evictions[reason]) for reason in evictions]
        refused = [(f'reason="{reason}"', count) for reason, count in sorted(self.refusals.items())]
        yield "relay_worker_connections", "gauge", "Sessions that are connected.", sessions
        yield counter("relay_message_rx", "Envelopes appended to mailboxes.", self.message_rx)
        yield counter("relay_message_rx_bytes", "Their bytes.", self.message_rx_bytes)
        yield counter("relay_message_tx", "Envelopes written to connections.", self.message_tx)
        yield counter("relay_message_tx_bytes", "Their bytes.", self.message_tx_bytes)
        yield "relay_session_evictions_total", "counter", "Sessions that ended.", ended
        yield "relay_refusals_total", "counter", "Envelopes and requests refused.", refused
        yield counter("relay_slowed_seconds_total", "Time that twins which were too fast waited.", self.slowed_s)
        yield counter("relay_signins_total", "Connections opened.", self.signins)
        yield counter("relay_append_failures_total", "Appends that the store did not do.", self.append_failures)
        yield counter("relay_confirmations_total", "Entries that a client is known to have read.", self.confirmations)
        yield counter("relay_poison_total", "Mailbox entries deleted because of their shape.", self.poison)
        yield counter("rmb_cache_hits_total", "Destinations that were known.", self.cache_hits)
        yield counter("rmb_cache_misses_total", "Destinations that had to be looked up.", self.cache_misses)
        yield counter("rmb_cache_flushes_total", "Times that all of them became doubtful.", self.cache_flushes)
        yield "rmb_cache_entries", "gauge", "Twins remembered.", [("", self.cache_entries())]
        yield from self._chain_families(counter)
        yield counter("relay_replies_dropped_total", "Answers neither stored nor sent.", self.replies_dropped)
        reasons: tuple[Why, ...] = ("expired", "age", "cap")
        dropped = [(f'reason="{reason}"', self.dropped[reason]) for reason in reasons]
        yield "relay_dropped_total", "counter", "Stored envelopes that were dropped.", dropped
        yield "relay_stored_messages", "gauge", "Envelopes in all mailboxes of the store.", [("", self.stored.count)]
        yield "relay_stored_bytes", "gauge", "Their bytes.", [("", self.stored.bytes)]
        yield counter("relay_posts_repeated_total", "Posts of other relays that were here before.", self.repeats)
        told = [(f'how="{how}"', count) for how, count in sorted(self.told.items())]
        yield "relay_told_total", "counter", "Errors about what was dropped later, by what became of them.", told
        frames = [('direction="in"', self.link_frames_in), ('direction="out"', self.link_frames_out)]
        ends = [(f'ending="{ending.name.lower()}"', self.endings[ending]) for ending in Ending]
        yield "relay_links_of_relays", "gauge", "Links that other relays have to this one.", [("", self.links())]
        yield "relay_link_frames_total", "counter", "Frames of rmb.2.", frames
        yield "relay_link_endings_total", "counter", "Envelopes that came over rmb.2, by how they ended.", ends
        yield counter("relay_direct_total", "Envelopes handed to a session without the store.", self.direct)
        yield counter("relay_backed_up_total", "Those of them that were stored after all.", self.backed_up)
        yield from self.federation()

    def _chain_families(self, counter: Callable[[str, str, float], _Family]) -> Iterator[_Family]:
        name = "events_listener_"
        stages: tuple[ListenerStage, ...] = ("decode", "cache_set")
        errors = [(f'stage="{stage}"', self.chain_errors[stage]) for stage in stages]
        lost, block = int(self.chain_reconnecting), self.chain_block
        yield f"{name}reconnecting", "gauge", "1 while the chain cannot be followed.", [("", lost)]
        yield counter(f"{name}reconnect_cycles_total", "Attempts to follow the chain again.", self.chain_reconnects)
        yield f"{name}errors_total", "counter", "Blocks whose events could not be used.", errors
        yield f"{name}last_processed_block_number", "gauge", "The newest block taken over.", [("", block)]
        yield counter(f"{name}twin_stored_total", "Twins created on chain.", self.chain_stored)
        yield counter(f"{name}twin_updated_total", "Twins changed on chain.", self.chain_updated)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, version 0.0.4."""
        lines = []
        for name, kind, text, samples in self._families():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples]
        name = "relay_delivery_seconds"
        lines += [f"# HELP {name} From an envelope's arrival to its delivery.", f"# TYPE {name} histogram"]
        lines += [*self.written.lines(name, 'stage="written"'), *self.confirmed.lines(name, 'stage="confirmed"')]
        return ("\n".join(lines) + "\n").encode() + generate_latest(_PROCESS)


_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
