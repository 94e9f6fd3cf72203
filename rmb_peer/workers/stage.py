"""Which job is done when, and by whom: in order for each conversation, shared among workers, bounded.

Jobs of one lane (a twin and a direction) may be done by several workers at once; their results come out in the order in
which the jobs came in. What a worker that ended had not answered is given to others: to sign or verify twice is
harmless. Pure: it refuses to know processes, pipes and clocks.
"""

from collections import deque
from collections.abc import Callable, Hashable

from rmb_peer.workers.frames import Frame
from rmb_peer.workers.jobs import Job, Result, UnknownJob, result_of

BATCH_JOBS = 16
"""Jobs that one worker is given in one write. As many as sender and receiver make in one turn of the event loop: about
a millisecond of work, so that a wake-up (30 to 80 us where it was measured) does not count."""

WINDOW_JOBS = 64
"""Jobs that one worker has at a time. A guess: it always finds the next batch when it has done one, and little has to
be done again when it dies."""

WINDOW_BYTES = 1024 * 1024
"""Their bytes; one job is given whatever its size."""

JOBS_MAX = 2048
"""Jobs of one kind that wait or are being done, before `has_room` says no. A guess: as many verified messages as may
wait for the store."""

JOBS_BYTES_MAX = 64 * 1024 * 1024
"""Their bytes: four of the largest messages."""

LOSSES_MAX = 3
"""Workers that may end, one after another, while they have a job; then it is done without them. A guess: either
something ends them at random, or the job itself does; without workers it would have been done here anyway."""


class _Entry:
    """A job on its way. `result` is set when it is done and waits for older ones of its lane."""

    __slots__ = ("done", "job", "lane", "losses", "number", "result")

    def __init__(self, number: int, lane: Hashable, job: Job, done: Callable[[Result], None]) -> None:
        self.number, self.lane, self.job, self.done = number, lane, job, done
        self.losses = 0
        self.result: Result | None = None


class _Share:
    """What one worker has."""

    __slots__ = ("entries", "size_bytes")

    def __init__(self) -> None:
        self.entries: dict[int, _Entry] = {}
        self.size_bytes = 0


class Stage:
    """The jobs between submission and result.

    Attributes:
        jobs: how many there are: waiting, being done, or done and waiting for older ones of their lane.
    """

    def __init__(
        self,
        here: Callable[[Job], Result],
        *,
        jobs_max: int = JOBS_MAX,
        bytes_max: int = JOBS_BYTES_MAX,
    ) -> None:
        """Start without jobs and workers.

        Args:
            here: does a job in this process.
            jobs_max: see `has_room`; for each kind.
            bytes_max: their bytes.
        """
        self._here = here
        self._jobs_max = jobs_max
        self._bytes_max = bytes_max
        self._next_number = 1
        self._waiting: deque[_Entry] = deque()
        self._lanes: dict[Hashable, deque[_Entry]] = {}
        self._shares: dict[int, _Share] = {}
        self._load: dict[int, list[int]] = {}
        self.jobs = 0

    @property
    def waiting(self) -> int:
        """Jobs that nobody has begun."""
        return len(self._waiting)

    def has_room(self, kind: int) -> bool:
        """Whether those who can wait may submit a job of this kind. Whoever cannot wait is limited elsewhere."""
        jobs, size_bytes = self._load.get(kind, (0, 0))
        return jobs < self._jobs_max and size_bytes < self._bytes_max

    def count_of(self, kind: int) -> int:
        """Jobs of one kind."""
        return self._load.get(kind, (0, 0))[0]

    def held_by(self, worker: int) -> int:
        """Jobs that a worker has."""
        share = self._shares.get(worker)
        return len(share.entries) if share else 0

    def can_take(self, worker: int) -> bool:
        """Whether `take` would give it something, were there enough."""
        share = self._shares.get(worker)
        return share is None or (len(share.entries) < WINDOW_JOBS and share.size_bytes < WINDOW_BYTES)

    def submit(self, lane: Hashable, job: Job, done: Callable[[Result], None]) -> None:
        """Add a job.

        Args:
            lane: results of one lane come in the order of the calls.
            job: what to do.
            done: called with the result, once; may submit. Not called from here.
        """
        self._waiting.append(self._enter(lane, job, done))

    def put_result(self, lane: Hashable, kind: int, result: Result, done: Callable[[Result], None]) -> None:
        """Add what was done without a job; it comes out in its place, at once if nothing of its lane is older."""
        size = result if isinstance(result, bytes) else b""
        self._finish(self._enter(lane, Job(kind, size), done), result)

    def take(self, worker: int) -> list[Frame]:
        """The oldest jobs that wait, as many as this worker may have now; it is to answer each."""
        share = self._shares.setdefault(worker, _Share())
        batch: list[Frame] = []
        while self._waiting and len(batch) < BATCH_JOBS and self.can_take(worker):
            entry = self._waiting.popleft()
            share.entries[entry.number] = entry
            share.size_bytes += len(entry.job.body)
            batch.append(Frame(entry.number, entry.job.kind, entry.job.body))
        return batch

    def answered(self, worker: int, frame: Frame) -> None:
        """A worker has sent a result; calls `done` of what can come out now.

        Raises:
            UnknownJob: this worker does not have that job, or the frame is no result.
        """
        share = self._shares.get(worker)
        if share is None or frame.number not in share.entries:
            raise UnknownJob("a result for a job that this worker does not have")
        result = result_of(frame.kind, frame.body)
        entry = share.entries.pop(frame.number)
        share.size_bytes -= len(entry.job.body)
        self._finish(entry, result)

    def lost(self, worker: int) -> int:
        """A worker has ended: its jobs go to the others, before younger ones.

        Returns:
            how many there were.
        """
        share = self._shares.pop(worker, None)
        if share is None:
            return 0
        entries = list(share.entries.values())  # in the order in which they were given
        for entry in entries:
            entry.losses += 1
        self._waiting.extendleft(reversed([entry for entry in entries if entry.losses < LOSSES_MAX]))
        for entry in entries:
            if entry.losses >= LOSSES_MAX:
                self._finish(entry, self._here(entry.job))
        return len(entries)

    def do_here(self, count_max: int) -> None:
        """Do the oldest jobs that wait without workers; calls `done`."""
        for _ in range(min(count_max, len(self._waiting))):
            entry = self._waiting.popleft()
            self._finish(entry, self._here(entry.job))

    def _enter(self, lane: Hashable, job: Job, done: Callable[[Result], None]) -> _Entry:
        entry = _Entry(self._next_number, lane, job, done)
        self._next_number += 1
        self._lanes.setdefault(lane, deque()).append(entry)
        self._count(entry, 1)
        return entry

    def _finish(self, entry: _Entry, result: Result) -> None:
        entry.result = result
        lane = self._lanes[entry.lane]
        while lane and lane[0].result is not None:
            first = lane.popleft()
            if not lane:
                del self._lanes[entry.lane]  # before `done`, which may begin the lane anew
            self._count(first, -1)
            assert first.result is not None
            first.done(first.result)

    def _count(self, entry: _Entry, jobs: int) -> None:
        self.jobs += jobs
        load = self._load.setdefault(entry.job.kind, [0, 0])
        load[0] += jobs
        load[1] += jobs * len(entry.job.body)
