"""The order of results, who has which job, and the limits."""

import random
from collections import defaultdict
from itertools import pairwise

import pytest

from rmb_peer.protocol.errors import InvalidSignature
from rmb_peer.workers.frames import Frame
from rmb_peer.workers.jobs import DONE, INVALID_SIGNATURE, OPEN, SEAL, Job, Result, UnknownJob
from rmb_peer.workers.stage import BATCH_JOBS, LOSSES_MAX, WINDOW_BYTES, WINDOW_JOBS, Stage


def here(job: Job) -> Result:
    """Doing a job in this process; the body says what came out where."""
    return b"here:" + job.body


class Told:
    """What came out, by lane."""

    def __init__(self) -> None:
        self.of: dict[int, list[Result]] = defaultdict(list)

    def submit(self, stage: Stage, lane: int, body: bytes, kind: int = OPEN) -> None:
        stage.submit(lane, Job(kind, body), self.of[lane].append)


def answer(stage: Stage, worker: int, job: Frame) -> None:
    stage.answered(worker, Frame(job.number, DONE, job.body))


@pytest.mark.parametrize("seed", range(30))
def test_each_lane_keeps_its_order_whoever_finishes_first_and_whoever_dies(seed: int) -> None:
    """Jobs finish in any order at several workers, some of which die; each lane's results come once and in order."""
    chance, stage, told = random.Random(seed), Stage(here), Told()
    submitted: dict[int, int] = defaultdict(int)
    held: dict[int, list[Frame]] = {worker: [] for worker in range(3)}
    while sum(submitted.values()) < 300 or stage.jobs:
        match chance.randrange(12):
            case 0 | 1 | 2 | 3 if sum(submitted.values()) < 300:
                lane = chance.randrange(4)
                told.submit(stage, lane, b"%d" % submitted[lane], chance.choice((OPEN, SEAL)))
                submitted[lane] += 1
            case 4 | 5 | 6:
                worker = chance.randrange(3)
                held[worker] += stage.take(worker)
            case 7 if chance.random() < 0.2:
                worker = chance.randrange(3)
                assert stage.lost(worker) == len(held[worker])
                held[worker] = []
            case _:
                worker = chance.randrange(3)
                if held[worker]:
                    answer(stage, worker, held[worker].pop(chance.randrange(len(held[worker]))))
    for lane, results in told.of.items():
        plain = [result.removeprefix(b"here:") for result in results if isinstance(result, bytes)]
        assert plain == [b"%d" % number for number in range(submitted[lane])]


def test_a_late_lane_holds_up_no_other() -> None:
    """Only results of the same lane wait for the one that is late; the error comes out in its place."""
    stage, told = Stage(here), Told()
    for lane, body in ((1, b"a"), (1, b"b"), (2, b"c")):
        told.submit(stage, lane, body)
    first, second, third = stage.take(1)
    answer(stage, 1, third)
    answer(stage, 1, second)
    assert (told.of[1], told.of[2], stage.jobs) == ([], [b"c"], 2)
    stage.answered(1, Frame(first.number, INVALID_SIGNATURE, b"why"))
    error, last = told.of[1]
    assert isinstance(error, InvalidSignature)
    assert (error.detail, last, stage.jobs) == ("why", b"b", 0)


def test_one_worker_has_a_window_and_is_given_batches() -> None:
    """At most so many at once, so many in all, and so many bytes; one large job passes by itself."""
    stage, told = Stage(here), Told()
    for number in range(WINDOW_JOBS + 10):
        told.submit(stage, 1, b"%d" % number)
    batches = [stage.take(1) for _ in range(WINDOW_JOBS // BATCH_JOBS + 1)]
    assert [len(batch) for batch in batches] == [BATCH_JOBS] * (WINDOW_JOBS // BATCH_JOBS) + [0]
    assert (stage.held_by(1), stage.can_take(1), stage.can_take(2)) == (WINDOW_JOBS, False, True)
    assert (len(stage.take(2)), stage.waiting) == (10, 0)
    told.submit(stage, 1, bytes(2 * WINDOW_BYTES))
    told.submit(stage, 1, b"next")
    assert [len(job.body) for job in stage.take(3)] == [2 * WINDOW_BYTES]
    assert not stage.can_take(3)


def test_there_is_room_below_both_limits_and_kinds_do_not_share_it() -> None:
    """`has_room` says no at the limit of jobs and at that of bytes, of this kind, until results have come out."""
    stage, told = Stage(here, jobs_max=2, bytes_max=10), Told()
    told.submit(stage, 1, b"1")
    assert stage.has_room(OPEN)
    told.submit(stage, 1, b"2")
    assert (stage.has_room(OPEN), stage.has_room(SEAL), stage.count_of(OPEN)) == (False, True, 2)
    one, two = stage.take(1)
    answer(stage, 1, two)
    assert not stage.has_room(OPEN)  # it waits for the first
    answer(stage, 1, one)
    assert stage.has_room(OPEN)
    told.submit(stage, 1, bytes(10), SEAL)
    assert not stage.has_room(SEAL)


def test_what_was_done_without_a_job_comes_out_in_its_place() -> None:
    """A result that is put behind a job of its lane waits for it and counts meanwhile; without one it comes at once."""
    stage, told = Stage(here, bytes_max=10), Told()
    told.submit(stage, 1, b"old")
    stage.put_result(1, OPEN, b"large result", told.of[1].append)
    stage.put_result(2, OPEN, InvalidSignature("why"), told.of[2].append)
    assert (told.of[1], len(told.of[2]), stage.waiting, stage.jobs) == ([], 1, 1, 2)
    assert not stage.has_room(OPEN)
    (job,) = stage.take(1)
    answer(stage, 1, job)
    assert told.of[1] == [b"old", b"large result"]
    assert (stage.jobs, stage.has_room(OPEN)) == (0, True)


def test_jobs_of_a_lost_worker_come_before_younger_ones_and_are_done_here_in_the_end() -> None:
    """The next worker gets them first; after some losses they need no worker."""
    stage, told = Stage(here), Told()
    told.submit(stage, 1, b"old")
    for loss in range(1, LOSSES_MAX + 1):
        assert stage.take(loss)[0].body == b"old"
        told.submit(stage, 2, b"young%d" % loss)
        assert stage.lost(loss) >= 1
        assert bool(told.of[1]) == (loss == LOSSES_MAX)
    assert told.of[1] == [b"here:old"]
    rest = stage.take(9)
    assert all(older.number < younger.number for older, younger in pairwise(rest))
    assert stage.lost(10) == 0


def test_without_workers_the_oldest_are_done_here() -> None:
    """As many as told."""
    stage, told = Stage(here), Told()
    for number in range(5):
        told.submit(stage, number, b"%d" % number)
    stage.do_here(3)
    assert ([lane for lane in told.of if told.of[lane]], stage.waiting) == ([0, 1, 2], 2)
    stage.do_here(9)
    assert (stage.waiting, stage.jobs) == (0, 0)


def test_results_that_nobody_asked_for_are_refused() -> None:
    """Of no job, of another worker's job, a second time, or of no kind: `UnknownJob`, and nothing comes out."""
    stage, told = Stage(here), Told()
    told.submit(stage, 1, b"a")
    (job,) = stage.take(1)
    for worker, frame in (
        (1, Frame(99, DONE, b"")),
        (2, Frame(job.number, DONE, b"")),
        (1, Frame(job.number, 99, b"")),
    ):
        with pytest.raises(UnknownJob):
            stage.answered(worker, frame)
    assert told.of[1] == []
    answer(stage, 1, job)
    with pytest.raises(UnknownJob):
        answer(stage, 1, job)
    assert told.of[1] == [b"a"]


def test_a_result_may_submit_to_its_own_lane() -> None:
    """`done` that submits again gets its result too, after those that were there."""
    stage, got = Stage(here), list[Result]()

    def again(result: Result) -> None:
        got.append(result)
        if len(got) == 1:
            stage.submit(1, Job(OPEN, b"second"), got.append)

    stage.submit(1, Job(OPEN, b"first"), again)
    (job,) = stage.take(1)
    answer(stage, 1, job)
    (job,) = stage.take(1)
    answer(stage, 1, job)
    assert (got, stage.jobs) == ([b"first", b"second"], 0)
