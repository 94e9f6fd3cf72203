"""Who still has to report before a `remaphore wait` is over. Every peer counts once, however often it sends."""

from collections.abc import Sequence
from typing import Literal

from rmb_peer.remaphore.core.settings import Peer, Settings, allows
from rmb_peer.remaphore.core.wildcards import matches

Count = int | Literal["all", "any"]


class Impossible(ValueError):
    """The condition can never hold; the text says why."""


def group(settings: Settings, pattern: bytes, verbs: Sequence[bytes]) -> dict[bytes, Peer]:
    """The peers that may report, by public key.

    Args:
        settings: whose peers.
        pattern: which of them by name.
        verbs: what they report with; a peer that may send none of them cannot report. Empty means any verb.
    """
    members: dict[bytes, Peer] = {}
    for peer in settings.peers:
        able = any(allows(peer.verbs, verb) for verb in verbs) if verbs else bool(peer.verbs)
        if able and matches(pattern, peer.destination) and settings.peer(peer.public) is peer:
            members[peer.public] = peer
    return members


class Quorum:
    """Counts reports until there are enough."""

    def __init__(self, members: dict[bytes, Peer], count: Count, of: int | None) -> None:
        """Begin to count.

        Args:
            members: who may report.
            count: how many have to.
            of: how many members there must be; a guard against a peer that is missing in the configuration.

        Raises:
            Impossible: there are not as many members as that.
        """
        if of is not None and of != len(members):
            raise Impossible(f"--of {of}, but the configuration knows {len(members)} peers that can report")
        self.wanted = {"all": len(members), "any": 1}.get(count, 0) if isinstance(count, str) else count
        if self.wanted < 1 or self.wanted > len(members):
            raise Impossible(f"{self.wanted} of {len(members)} peers can never report")
        self._missing = dict(members)
        self._reported = 0

    @property
    def reached(self) -> bool:
        """Whether enough have reported."""
        return self._reported >= self.wanted

    @property
    def reported(self) -> int:
        """How many have reported."""
        return self._reported

    @property
    def missing(self) -> list[Peer]:
        """Who has not, in file order."""
        return list(self._missing.values())

    def report(self, public: bytes) -> Peer | None:
        """Count a message of this sender; its peer entry if it is new and belongs to the group."""
        peer = self._missing.pop(public, None)
        if peer is not None:
            self._reported += 1
        return peer


def read_count(text: str) -> Count:
    """The value of `--count`.

    Raises:
        ValueError: it is neither a number from 1 nor `all` nor `any`.
    """
    if text == "all" or text == "any":
        return text  # type: ignore[return-value]
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise ValueError
    return int(text)
