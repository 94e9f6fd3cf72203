"""Which relay an envelope goes to: those of the record that may be spoken to, the healthiest first. Pure.

A destination keeps its relay while that one works, so that the order of its envelopes is kept. This module refuses to
know how relays are spoken to and where envelopes wait.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relay.federation.places import PlaceRefused, Places
from relay.federation.ranker import RELAYS_MAX, Ranker
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.lru import Lru

STICKY_MAX = 10_000
"""Destinations whose relay is remembered; a guess, about 1 MB."""

CANDIDATES_MAX = 4
"""Relays of a record that are looked at (spec rmb 7.3); a chain's record may hold more."""

_REFUSED = "!"


@dataclass(frozen=True, slots=True)
class Tried:
    """Which relays had an envelope already.

    Attributes:
        refused: those that do not want it, now or ever.
        failed: those that could not take it.
    """

    refused: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> "Tried":
        """What `text` wrote; it takes anything."""
        words = text.split()
        refused = frozenset(word.removeprefix(_REFUSED) for word in words if word.startswith(_REFUSED))
        return cls(refused, frozenset(words) - {_REFUSED + name for name in refused})

    def text(self) -> str:
        """For the outbox: names of relays hold neither blanks nor `!`."""
        return " ".join([*sorted(_REFUSED + name for name in self.refused), *sorted(self.failed)])


class Candidates:
    """Chooses."""

    def __init__(
        self,
        places: Places,
        ranker: Ranker,
        works: Callable[[str], bool],
        doubted_since: Callable[[str], float | None],
    ) -> None:
        """Set up.

        Args:
            places: who may be spoken to.
            ranker: who failed how often.
            works: whether nothing is known against a relay at this moment.
            doubted_since: when the pause of a relay that failed was over, if it is; `None` if not, or if it works.
        """
        self._places = places
        self._ranker = ranker
        self._works = works
        self._doubted_since = doubted_since
        self._chosen: Lru[int, str] = Lru(STICKY_MAX)
        self._probed: Lru[str, float] = Lru(RELAYS_MAX)
        """Relays that were sent a probe, and after which pause."""

    def permitted(self, twin: Twin) -> list[str]:
        """The relays of a record that may be spoken to, in alphabetical order.

        Raises:
            PlaceRefused: there is none; the text says why.
        """
        names, why = [], ""
        for relay in sorted(twin.relays)[: 2 * CANDIDATES_MAX]:
            try:
                name = normalize_relay(relay)
                self._places.url(name)
            except BadRequest:
                why = why or f"{relay[:80]!r} is no relay"
            except PlaceRefused as error:
                why = why or str(error)
            else:
                names.append(name)
        if not names:
            raise PlaceRefused(f"destination twin {twin.id} cannot be reached through its relays: {why}")
        return list(dict.fromkeys(names))[:CANDIDATES_MAX]

    def choose(self, twin: Twin, now_s: float) -> str:
        """The relay for a new envelope. When none works, one that may work again.

        Raises:
            PlaceRefused: none may be spoken to.
        """
        names = self.permitted(twin)
        chosen = self._chosen.get(twin.id)
        if chosen in names and chosen is not None and self._works(chosen):
            return chosen
        best = self._best(names, now_s)
        self._chosen.put(twin.id, best)
        return best

    def after_failure(self, twin: Twin, name: str, tried: Tried, now_s: float, *, whole: bool) -> str | None:
        """Another relay for an envelope that `name` could not take; it must work. `None`: stay and wait.

        A relay for which nothing waits would never be found to work again. So one envelope goes to it after each of its
        pauses, and if that arrives, the others follow.

        Args:
            twin: the destination.
            name: where it is now.
            tried: who had it already.
            now_s: Unix seconds.
            whole: the relay takes nothing at all; else it does not take this one, and then each relay has one chance,
                or two sick mailboxes would throw it to and fro.
        """
        spent = tried.refused | {name} | (frozenset() if whole else tried.failed)
        others = self._others(twin, spent)
        working = [other for other in others if self._works(other)]
        if working or not whole:
            return self._move(working, now_s)
        return next((other for other in self._ranker.order(others, now_s) if self._may_probe(other)), None)

    def _may_probe(self, name: str) -> bool:
        since_s = self._doubted_since(name)
        if since_s is None or self._probed.get(name) == since_s:
            return False
        self._probed.put(name, since_s)
        return True

    def after_refusal(self, twin: Twin, name: str, tried: Tried, now_s: float) -> str | None:
        """Another relay for an envelope that `name` refused, preferably one that works; `None` if all have."""
        return self._move(self._others(twin, tried.refused | {name}), now_s)

    def _others(self, twin: Twin, spent: Iterable[str]) -> list[str]:
        try:
            return [other for other in self.permitted(twin) if other not in spent]
        except PlaceRefused:
            return []

    def _move(self, names: list[str], now_s: float) -> str | None:
        return self._best(names, now_s) if names else None

    def _best(self, names: list[str], now_s: float) -> str:
        ordered = self._ranker.order(names, now_s)
        return next((name for name in ordered if self._works(name)), ordered[0])
