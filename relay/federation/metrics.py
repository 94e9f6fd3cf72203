"""What `/metrics` says about other relays: the reference's two names (spec rmb 6.11), and ours. Pure.

Strangers choose the names of relays, so the number of labels is bounded; what is beyond is summed up as `other`.
"""

from collections.abc import Iterable, Iterator, Mapping

from relay.federation.health import State
from relay.federation.outbound import RemoteStatus

LABELS_MAX = 100
"""Relays with a label of their own; a guess: the existing network has tens."""

OTHER = "other"

Sample = tuple[str, int]
Family = tuple[str, str, str, list[Sample]]
"""Name, type, help, and samples as labels and value; see `relay.metrics`."""


def federation_families(
    success: Mapping[str, int], error: Mapping[str, int], remotes: Iterable[RemoteStatus], now_s: float
) -> Iterator[Family]:
    """All of it.

    Args:
        success: envelopes that each relay has taken.
        error: attempts that each relay itself failed, or refused; no other candidate is blamed (spec rmb 10.13).
        remotes: every relay for which something waits.
        now_s: Unix seconds.
    """
    known = list(remotes)
    waiting = sorted(known, key=lambda remote: -remote.count)

    def gauge(name: str, text: str, values: Iterable[tuple[str, int]]) -> Family:
        return name, "gauge", text, _samples(values)

    yield "federation_message_success", "counter", "Envelopes that a relay has taken.", _samples(success.items())
    yield "federation_message_error", "counter", "Attempts that a relay failed or refused.", _samples(error.items())
    yield gauge("relay_federation_waiting", "Envelopes that wait for a relay.", ((r.name, r.count) for r in waiting))
    sizes = ((remote.name, remote.size_bytes) for remote in waiting)
    yield gauge("relay_federation_waiting_bytes", "Their bytes.", sizes)
    ages = [(r.name, max(0, int(now_s - r.oldest_at_s)) if r.count else 0) for r in waiting][:LABELS_MAX]
    yield gauge("relay_federation_oldest_seconds", "Age of the oldest of them.", ages)
    open_ = ((remote.name, int(remote.state is not State.CLOSED)) for remote in waiting[:LABELS_MAX])
    yield gauge("relay_federation_open", "1 while only probes are sent to a relay.", open_)
    errors = [
        (f'relay="{remote.name}",reason="{_label(remote.health.reason)}"', int(remote.health.failed_at_s))
        for remote in sorted(known, key=lambda remote: -remote.health.failed_at_s)[:LABELS_MAX]
        if remote.health.failed_at_s
    ]
    yield "relay_federation_last_error", "gauge", "Unix seconds of the last failure of a relay.", errors


def _samples(values: Iterable[tuple[str, int]]) -> list[Sample]:
    samples, other = [], 0
    for number, (name, value) in enumerate(values):
        if number < LABELS_MAX:
            samples.append((f'relay="{name}"', value))
        else:
            other += value
    return samples + ([(f'relay="{OTHER}"', other)] if other else [])


def _label(reason: str) -> str:
    """It comes from the store, which others may write."""
    return "".join(c for c in reason if c.isascii() and (c.isalnum() or c == "_"))[:30]
