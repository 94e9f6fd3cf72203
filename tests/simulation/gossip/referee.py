"""Who should get which broadcast, who got it, and when: the referee of a run. It knows no protocol and no network.

A round is judged as spec gossip 15.4 says; every message counts in its own round, also when it arrives later. A node
that gets the same message twice is a fault of the protocol wherever it happens.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.gossip.statistics import percentile


@dataclass(slots=True)
class Message:
    """One broadcast on its way."""

    round: "Round"
    author: int
    place: int  # counts the author's messages
    waiting: set[int]  # should get it and has not
    got: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Round:
    """All broadcasts of one round."""

    begin_s: float
    deadline_s: float  # the instant, not the length
    expected: int = 0  # deliveries that should happen
    delivered: int = 0  # in time
    late: int = 0
    open: int = 0  # messages that somebody waits for
    last_s: float = 0.0  # the last delivery in time
    last_hop: int = 0  # LDH: the largest round number at a first delivery
    payloads: int = 0  # Gossip messages received by anybody
    controls: int = 0  # all other messages received by anybody
    latencies: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def rmr(self) -> float:
        """Relative message redundancy as upstream computes it: P / (D - 1) - 1."""
        return self.payloads / (self.delivered - 1) - 1 if self.delivered > 1 else 0.0


class Referee:
    """Keeps every message of a run."""

    def __init__(self) -> None:
        self._messages: dict[bytes, Message] = {}
        self._sent_by: dict[int, int] = {}
        self._latest: dict[tuple[int, int], int] = {}  # of receiver and author: the highest place delivered
        self.delivered_twice = 0
        self.out_of_order = 0  # deliveries after a later message of the same author
        self.round = Round(0.0, 0.0)

    def begin(self, now_s: float, deadline_s: float) -> Round:
        """Open a round whose deliveries count until `deadline_s` from now."""
        self.round = Round(now_s, now_s + deadline_s, last_s=now_s)
        return self.round

    def sent(self, author: int, content: bytes, receivers: Iterable[int]) -> None:
        """A broadcast begins; equal bytes sent again begin a message of their own."""
        place = self._sent_by[author] = self._sent_by.get(author, 0) + 1
        message = Message(self.round, author, place, set(receivers))
        self._messages[content] = message
        self.round.expected += len(message.waiting)
        self.round.open += bool(message.waiting)

    def delivered(self, node: int, content: bytes, hop: int, now_s: float) -> bool:
        """A node's application got a message.

        Returns:
            Whether the newest round is complete.
        """
        message = self._messages.get(content)
        if message is None:
            raise AssertionError(f"node {node} got {content!r}, which nobody sent")
        if node in message.got:
            self.delivered_twice += 1
            return False
        message.got.add(node)
        link = (node, message.author)
        if message.place < self._latest.get(link, 0):
            self.out_of_order += 1
        else:
            self._latest[link] = message.place
        if node not in message.waiting:
            return False  # came after the broadcast, or is not settled: welcome, but not expected
        message.waiting.discard(node)
        judged = message.round
        if now_s > judged.deadline_s:
            judged.late += 1
            return False
        judged.delivered += 1
        judged.last_s = now_s
        judged.last_hop = max(judged.last_hop, hop)
        judged.latencies.append(now_s - judged.begin_s)
        if not message.waiting:
            judged.open -= 1
        return judged is self.round and judged.open == 0

    def gone(self, node: int) -> None:
        """A node crashed or left: nobody expects deliveries to it any more."""
        for message in self._messages.values():
            if node in message.waiting:
                message.waiting.discard(node)
                message.round.expected -= 1
                message.round.open -= not message.waiting

    def latest(self, count: int) -> list[Message]:
        """The last messages that were sent, oldest first."""
        return list(self._messages.values())[-count:] if count else []

    def outstanding(self) -> int:
        """Deliveries that have not happened to this moment, however late."""
        return sum(len(message.waiting) for message in self._messages.values())


def summary(rounds: list[Round], nodes: int) -> dict[str, float]:
    """The measures of 15.4 and 16.5 over rounds, by the names that scenario files use."""
    count = len(rounds)
    expected = sum(each.expected for each in rounds)
    delivered = sum(each.delivered for each in rounds)
    payloads, controls = sum(each.payloads for each in rounds), sum(each.controls for each in rounds)
    latencies = sorted(latency for each in rounds for latency in each.latencies)
    durations_ms = [1000 * (each.last_s - each.begin_s) for each in rounds]
    measures = {
        "rmr": sum(each.rmr for each in rounds) / count,
        "worst_rmr": max(each.rmr for each in rounds),
        "ldh": sum(each.last_hop for each in rounds) / count,
        "worst_ldh": max(each.last_hop for each in rounds),
        "duration_ms": sum(durations_ms) / count,
        "worst_ms": max(durations_ms),
        "payload": payloads / count,
        "control": controls / count,
        "control_per_node": controls / count / nodes,
        "payload_per_delivery": payloads / max(1, delivered),
        "control_per_delivery": controls / max(1, delivered),
        "missed": expected - delivered,
        "missed_percent": 100 * (expected - delivered) / max(1, expected),
        "late": sum(each.late for each in rounds),
        "delivered_percent": 100 * delivered / max(1, expected),
        "complete_percent": 100 * sum(each.delivered == each.expected for each in rounds) / count,
    }
    if latencies:
        measures |= {f"p{percent}_ms": 1000 * percentile(latencies, percent) for percent in (50, 90, 99, 100)}
    return measures
