"""What is remembered of each author: which numbers came, which are missing, which payloads can be served (W6, W33).

An author numbers its messages to a topic from 1, without gaps, anew in each life (`Stamp`). So duplicates are known for
as long as the author is remembered, without a table of ids, and a hole shows what was missed.

Where counting begins for us is `floor`: nothing below it is asked for. What comes from just below is delivered all the
same, since it may only have been overtaken.
"""

from typing import NamedTuple

from rmb_peer.protocol.gossip.config import Limits
from rmb_peer.protocol.gossip.messages import Gossip, Held, MessageId, PeerId, Stamp, Wanted

LATE_MAX = 64
"""So far below the floor a message is still delivered; a guess."""

Life = tuple[PeerId, int]
"""An author and its incarnation."""


class AuthorLog:
    """One life of one author, as seen from here.

    Attributes:
        floor: the first number that we want.
        upto: every number from `floor` to this one came, or was given up.
        beyond: what came above that.
        late: what came below the floor.
        highest: the highest number that is known to exist.
        kept_from: below this number no payload is kept.
        proven: whether a message of it came; otherwise it is only what a neighbor says.
    """

    __slots__ = ("beyond", "floor", "highest", "kept_from", "late", "proven", "upto")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.upto = floor - 1
        self.beyond: dict[int, None] = {}
        self.late: dict[int, None] = {}
        self.highest = floor - 1
        self.kept_from = floor
        self.proven = False

    def has(self, number: int) -> bool:
        """Whether this number came, was given up, or is too old to tell."""
        if number > self.upto:
            return number in self.beyond
        return number >= self.floor or number in self.late or number < self.floor - LATE_MAX

    def add(self, number: int) -> None:
        """A number came that was not there."""
        self.proven = True
        if number < self.floor:
            self.late[number] = None
            self.kept_from = min(self.kept_from, number)
            return
        if number > self.highest:
            self.highest = number
        if number != self.upto + 1:
            self.beyond[number] = None
            return
        self.upto = number
        self._close()

    def give_up(self, upto: int) -> list[tuple[int, int]]:
        """Count what is missing up to a number as lost. Returns the ranges."""
        lost: list[tuple[int, int]] = []
        while self.upto < upto:
            end = min((number for number in self.beyond if number > self.upto), default=upto + 1)
            end = min(end - 1, upto)
            if end > self.upto:
                lost.append((self.upto + 1, end))
            self.upto = end
            self._close()
        self.highest = max(self.highest, self.upto)
        return lost

    def missing(self, at_most: int) -> list[tuple[int, int]]:
        """The first ranges that are missing, of together at most so many numbers."""
        ranges: list[tuple[int, int]] = []
        number, left = self.upto + 1, at_most
        for known in (*sorted(self.beyond), self.highest + 1):
            if known > number and left > 0:
                last = min(known - 1, number + left - 1)
                ranges.append((number, last))
                left -= last - number + 1
            number = max(number, known + 1)
        return ranges

    def lower(self, floor: int) -> None:
        """Want earlier numbers, too."""
        if floor < self.floor:
            present = [number for number in self.late if number >= floor] + list(range(self.floor, self.upto + 1))
            self.beyond = dict.fromkeys(present + list(self.beyond))
            self.late = dict.fromkeys(number for number in self.late if number < floor)
            self.highest = max(self.highest, self.upto)
            self.floor = self.kept_from = floor
            self.upto = floor - 1
            self._close()

    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.highest <= self.upto

    def _close(self) -> None:
        while self.upto + 1 in self.beyond:
            self.upto += 1
            del self.beyond[self.upto]


class Kept(NamedTuple):
    """A payload that can be served, until when."""

    message: Gossip
    expires_s: float


class AuthorMemory:
    """All authors of one topic.

    Attributes:
        logs: the one that was silent longest comes first.
        kept: payloads, the oldest first.
        holes: lives of which something is missing.
        news: lives that have got something since `news` was last cleared, the latest last.
        synced: whether we know what was there before us: then an author that appears is wanted from the beginning.
        lost: ranges given up since they were last taken.
    """

    def __init__(self, me: PeerId, limits: Limits, payload_retention_s: float) -> None:
        self._me = me
        self._limits = limits
        self._retention_s = payload_retention_s
        self._newest: dict[PeerId, int] = {}
        self._bytes = 0
        self.logs: dict[Life, AuthorLog] = {}
        self.kept: dict[Stamp, Kept] = {}
        self.holes: dict[Life, None] = {}
        self.news: dict[Life, None] = {}
        self.synced = False
        self.lost: list[Wanted] = []

    def seen(self, key: MessageId) -> bool:
        """Whether this message came before, or belongs to an earlier life of its author that is forgotten."""
        if type(key) is not Stamp:
            return True
        log = self.logs.get(key[:2])
        if log is None:
            return key.incarnation < self._newest.get(key.author, 0)
        return log.proven and log.has(key.number)

    def remember(self, message: Gossip, now_s: float) -> None:
        """A message came that had not been seen, in the form in which it is passed on."""
        stamp = message.id
        assert type(stamp) is Stamp
        life = stamp[:2]
        number = stamp.number
        log = self.logs.pop(life, None)
        if log is not None and not log.proven and not log.upto < number <= log.upto + self._limits.ahead:
            log = None  # what was said of this author was not true
        if log is None:
            log = self._begin(life, 1 if self.synced else number)
        self.logs[life] = log  # at the end: the latest
        self._newest[life[0]] = max(life[1], self._newest.get(life[0], 0))
        if number > log.upto + self._limits.ahead:
            self._lose(life, log, number - self._limits.ahead)
        log.add(number)
        if log.highest > log.upto:
            self.holes[life] = None
        else:
            self.holes.pop(life, None)
        self.news.pop(life, None)
        self.news[life] = None
        self._keep(stamp, message, now_s)

    def held(self, key: MessageId) -> Gossip | None:
        """The payload, if it is still kept."""
        found = self.kept.get(key)  # type: ignore[arg-type]
        return None if found is None else found.message

    def sweep(self, now_s: float) -> None:
        """Forget payloads that are too old."""
        while self.kept:
            stamp = next(iter(self.kept))
            if self.kept[stamp].expires_s > now_s:
                return
            self._drop(stamp)

    def exists(self, entry: Held) -> bool:
        """Somebody says that it has this. It is only a claim: it makes us ask, and nothing else.

        Returns:
            whether something of it is missing here.
        """
        life = (entry.author, entry.incarnation)
        log = self.logs.get(life)
        if entry.author == self._me:
            return False  # also of an earlier life: we do not deliver our own
        if log is None:
            if entry.incarnation < self._newest.get(entry.author, 0):
                return False
            floor = max(1, entry.first) if self.synced else entry.upto + 1
            log = self.logs[life] = self._begin(life, floor)
        log.highest = max(log.highest, min(entry.upto, log.upto + self._limits.ahead))
        if log.highest > log.upto:
            self.holes[life] = None
            return entry.upto > log.upto
        return False

    def want_from(self, entry: Held) -> None:
        """History is coming: lower the floor of an author, so that it counts."""
        life = (entry.author, entry.incarnation)
        log = self.logs.get(life)
        if log is not None:
            log.lower(max(entry.first, log.upto - self._limits.ahead, 1))
            if not log.complete():
                self.holes[life] = None

    def give_up(self, life: Life) -> None:
        """Count what is missing of an author as lost, as far as later messages prove that it existed."""
        log = self.logs.get(life)
        if log is not None:
            if log.beyond:
                self._lose(life, log, max(log.beyond))
            log.highest = log.upto
        self.holes.pop(life, None)

    def state_of(self, life: Life) -> Held | None:
        """What we have of an author, for a digest."""
        log = self.logs.get(life)
        if log is None:
            return None
        return Held(life[0], life[1], min(log.kept_from, log.upto + 1), log.upto)

    def latest(self, count: int) -> list[Gossip]:
        """The payloads that came last, oldest first."""
        stamps = list(self.kept)[-count:] if count > 0 else []
        return [self.kept[stamp].message for stamp in stamps]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, life: Life, floor: int) -> AuthorLog:
        if len(self.logs) >= self._limits.authors:
            oldest = next(iter(self.logs))
            del self.logs[oldest]
            self.holes.pop(oldest, None)
            self.news.pop(oldest, None)
            if self._newest.get(oldest[0]) == oldest[1]:
                del self._newest[oldest[0]]
        return AuthorLog(floor)

    def _lose(self, life: Life, log: AuthorLog, upto: int) -> None:
        self.lost += [Wanted(*life, first, last) for first, last in log.give_up(upto)]

    def _keep(self, stamp: Stamp, message: Gossip, now_s: float) -> None:
        limits = self._limits
        self.kept[stamp] = Kept(message, now_s + self._retention_s)
        self._bytes += len(message.content)
        while self._bytes > limits.payload_bytes or len(self.kept) > limits.payloads:
            self._drop(next(iter(self.kept)))

    def _drop(self, stamp: Stamp) -> None:
        self._bytes -= len(self.kept.pop(stamp).message.content)
        log = self.logs.get(stamp[:2])
        if log is not None and stamp.number >= log.kept_from:
            log.kept_from = stamp.number + 1
