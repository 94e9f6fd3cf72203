"""What a host said before, so that it cannot take it back unseen.

A signature shows that *some* key stands behind a record; only memory shows that it is the same key as before and not an
older record (design, "Trust" in DESIGN.md). This module refuses to know how records arrive.
"""

from rmb_peer.protocol.errors import InvalidSignature
from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import SignedTwin
from rmb_peer.registry.lru import Lru

PINS_MAX = 10_000
"""Twins remembered, as many as the cache holds."""

_ANEW = " (if the registry was set up anew, restart this program)"


class Dishonest(Exception):
    """A record that an honest host would not have served; the text says why."""


class Pins:
    """The latest record seen of each twin in this process."""

    def __init__(self, pins_max: int = PINS_MAX) -> None:
        self._seen: Lru[int, Twin] = Lru(pins_max)

    def version(self, twin_id: int) -> int:
        """The greatest version seen of a twin; 0 when none was."""
        seen = self._seen.get(twin_id)
        return 0 if seen is None else seen.version

    def check(self, record: SignedTwin, *, asked_knowing: int | None = None, remember: bool = True) -> Twin:
        """Check a record's signature and that it does not contradict an earlier one.

        Args:
            record: as the host served it.
            asked_knowing: `version` at the time of the question. An answer of that version or later is honest even if
                a newer record came in by another way meanwhile.
            remember: whether to pin a twin not seen before. What nobody asked for must not push out other pins.

        Returns:
            the latest record of this twin.

        Raises:
            Dishonest: the record is forged, older than one seen before, or of another account.
        """
        twin = record.twin
        try:
            record.verify()
        except InvalidSignature as error:
            raise Dishonest(f"the record of twin {twin.id} is forged ({error.detail})") from None
        seen = self._seen.get(twin.id)
        if seen is not None:
            if twin.account != seen.account:
                raise Dishonest(f"twin {twin.id} was another account before{_ANEW}")
            if asked_knowing is not None and asked_knowing <= twin.version < seen.version:
                return seen
            if twin.version < seen.version:
                raise Dishonest(f"the record of twin {twin.id} is older than one served before{_ANEW}")
            if twin.version == seen.version and twin != seen:
                raise Dishonest(f"twin {twin.id} has two different records of version {twin.version}{_ANEW}")
        if remember or seen is not None:
            self._seen.put(twin.id, twin)
        return twin
