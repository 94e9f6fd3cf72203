"""Peers worth asking when the address book does not help: bootstrap peers, and those that were lost (W2, W4).

A peer is lost when it went without a word. During a partition that happens to everybody on the other side; after it
one of them answers, and its answer is the bridge. In quiet times nobody is lost, so that nothing is sent.

Knows nothing of views: it is told who is a neighbor, and says whom to try.
"""

from rmb_peer.protocol.gossip.config import ContactConfig
from rmb_peer.protocol.gossip.messages import PeerId
from rmb_peer.protocol.gossip.rng import Rng


class Contacts:
    """The memory of one topic.

    Attributes:
        bootstrap: peers named by the application, the latest last.
        lost: when each peer was lost, the latest last.
    """

    def __init__(self, me: PeerId, config: ContactConfig, rng: Rng) -> None:
        self._me = me
        self._config = config
        self._rng = rng
        self.bootstrap: dict[PeerId, None] = {}
        self.lost: dict[PeerId, float] = {}
        self._retry_at_s = 0.0
        self._retry_s = config.retry_first_s
        self._recontact_at_s = 0.0

    def add_bootstrap(self, peers: tuple[PeerId, ...], now_s: float) -> None:
        """The application named peers; they are asked at once, and the next time soon."""
        for peer in peers:
            if peer != self._me:
                self.bootstrap.pop(peer, None)
                self.bootstrap[peer] = None
        while len(self.bootstrap) > self._config.bootstrap_max:
            del self.bootstrap[next(iter(self.bootstrap))]
        self._retry_s = self._config.retry_first_s
        self._retry_at_s = now_s + self._jittered(self._retry_s)

    def was_lost(self, peer: PeerId, now_s: float) -> None:
        """A peer went without a word, or did not answer."""
        since_s = self.lost.pop(peer, now_s)
        self.lost[peer] = since_s
        if len(self.lost) == 1:
            self._recontact_at_s = now_s + self._jittered(self._config.recontact_s)
        while len(self.lost) > self._config.lost_max:
            del self.lost[next(iter(self.lost))]

    def found(self, peer: PeerId) -> None:
        """A peer has spoken, or has said that it leaves."""
        self.lost.pop(peer, None)

    def joined(self, now_s: float) -> None:
        """There is a neighbor: the next loneliness begins with short waits again."""
        self._retry_s = self._config.retry_first_s
        self._retry_at_s = now_s + self._jittered(self._retry_s)

    def retry(self, now_s: float, active: dict[PeerId, None], passive: dict[PeerId, None]) -> list[PeerId]:
        """While there are too few neighbors and nobody else to ask: whom to send a Join now.

        Returns:
            one peer of each kind; several, since some may be dead.
        """
        if now_s < self._retry_at_s:
            return []
        self._retry_s = min(2 * self._retry_s, self._config.retry_max_s)
        self._retry_at_s = now_s + self._jittered(self._retry_s)
        chosen: dict[PeerId, None] = {}
        for kind in (self.bootstrap, self.lost, passive):
            candidates = [peer for peer in kind if peer not in active and peer != self._me]
            if candidates:
                chosen[self._rng.choice(candidates)] = None
        return list(chosen)

    def soon(self) -> bool:
        """Whether waits are still so short that it matters to look often."""
        return self._retry_s <= 16 * self._config.retry_first_s

    def recontact(self, now_s: float, active: dict[PeerId, None]) -> PeerId | None:
        """In the middle of a healthy swarm: whether one of the lost peers is to be tried now, and which."""
        if not self.lost or now_s < self._recontact_at_s:
            return None
        self._recontact_at_s = now_s + self._jittered(self._config.recontact_s)
        for peer, since_s in list(self.lost.items()):
            if now_s - since_s > self._config.lost_for_s or peer in active:
                del self.lost[peer]
        return self._rng.choice(list(self.lost)) if self.lost else None

    def _jittered(self, time_s: float) -> float:
        return time_s * (0.75 + self._rng.random() / 2)
