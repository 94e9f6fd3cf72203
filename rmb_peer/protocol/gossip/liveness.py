"""Whether neighbors are still there, and how long a round trip takes (weaknesses W3, W10).

Any message proves that its sender lives. A neighbor that is silent for a while is pinged, again and again if need be,
and given up when it does not answer. An answer also measures the round trip; only that to the latest ping counts,
since an earlier one may have been lost (Karn's rule).

Knows nothing of views: the owner adds and removes links, and decides what to do with silent ones.
"""

from rmb_peer.protocol.gossip.config import LinkConfig
from rmb_peer.protocol.gossip.messages import PeerId


class Link:
    """What is known of one neighbor.

    Attributes:
        heard_at_s: when the last message came.
        rtt_s: smoothed round trip, None as long as none was measured.
        nonce: of the latest ping, as long as it is unanswered.
        pinged_at_s: when that was sent.
        unanswered: pings since the last message.
    """

    __slots__ = ("heard_at_s", "nonce", "pinged_at_s", "rtt_s", "unanswered")

    def __init__(self, now_s: float) -> None:
        self.heard_at_s = now_s
        self.rtt_s: float | None = None
        self.nonce: int | None = None
        self.pinged_at_s = now_s
        self.unanswered = 0


class Liveness:
    """The links of one topic.

    Attributes:
        links: by neighbor.
    """

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._nonce = 0
        self.links: dict[PeerId, Link] = {}
        self._mean_s = self._longest_s = config.rtt_guess_s

    def up(self, peer: PeerId, now_s: float) -> int:
        """A neighbor came.

        Returns:
            the nonce of a ping to send, which measures the link and makes sure that it exists at both ends.
        """
        self.links[peer] = link = Link(now_s)
        return self._ping(link, now_s)

    def down(self, peer: PeerId) -> None:
        """A neighbor went."""
        if self.links.pop(peer, None) is not None:
            self._summarize()

    def heard(self, peer: PeerId, now_s: float) -> None:
        """Any message came."""
        link = self.links.get(peer)
        if link is not None:
            link.heard_at_s = now_s

    def answered(self, peer: PeerId, nonce: int, now_s: float) -> None:
        """A pong came."""
        link = self.links.get(peer)
        if link is not None and link.nonce == nonce:
            link.nonce = None
            link.unanswered = 0
            self.measured(peer, now_s - link.pinged_at_s)

    def measured(self, peer: PeerId, rtt_s: float) -> None:
        """A round trip was observed; smoothed as in RFC 6298, 2.3."""
        link = self.links.get(peer)
        if link is not None:
            rtt_s = min(rtt_s, self._config.rtt_max_s)
            link.rtt_s = rtt_s if link.rtt_s is None else link.rtt_s + (rtt_s - link.rtt_s) / 8
            self._summarize()

    def rtt_s(self, peer: PeerId) -> float:
        """The round trip to a peer; a guess from the others if it was never measured."""
        link = self.links.get(peer)
        return self._mean_s if link is None or link.rtt_s is None else link.rtt_s

    @property
    def mean_rtt_s(self) -> float:
        """Over all neighbors that were measured."""
        return self._mean_s

    @property
    def longest_rtt_s(self) -> float:
        """Of all neighbors that were measured."""
        return self._longest_s

    def suspect(self, peer: PeerId, now_s: float) -> int | None:
        """A neighbor did not do what it should: ping it unless that is under way. Returns the nonce, if any."""
        link = self.links.get(peer)
        return None if link is None or link.nonce is not None else self._ping(link, now_s)

    def due(self, now_s: float) -> tuple[list[tuple[PeerId, int]], list[PeerId]]:
        """Look at every link.

        Returns:
            pings to send as (peer, nonce), and neighbors that are silent for too long.
        """
        pings: list[tuple[PeerId, int]] = []
        dead: list[PeerId] = []
        config = self._config
        for peer, link in self.links.items():
            if link.nonce is None:
                if now_s >= link.heard_at_s + config.heartbeat_s:
                    pings.append((peer, self._ping(link, now_s)))
            elif now_s >= link.pinged_at_s + max(config.probe_s, 3 * (link.rtt_s or self._longest_s)):
                if link.heard_at_s >= link.pinged_at_s:
                    link.unanswered = 0  # it lives, only its pong was lost
                if link.unanswered >= config.probes:
                    dead.append(peer)
                else:
                    pings.append((peer, self._ping(link, now_s)))
        return pings, dead

    def suspects(self) -> bool:
        """Whether an answer is awaited."""
        return any(link.nonce is not None for link in self.links.values())

    def _ping(self, link: Link, now_s: float) -> int:
        self._nonce += 1
        link.nonce = self._nonce
        link.pinged_at_s = now_s
        link.unanswered += 1
        return self._nonce

    def _summarize(self) -> None:
        measured = [link.rtt_s for link in self.links.values() if link.rtt_s is not None]
        if measured:
            self._mean_s = sum(measured) / len(measured)
            self._longest_s = max(measured)
