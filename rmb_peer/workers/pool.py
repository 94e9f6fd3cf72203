"""Worker processes: started, given jobs, watched, replaced. `stage` decides the order and who does what.

The keys reach a worker through its socket only. A worker that ends, hangs or writes noise is replaced, and its jobs go
to the others; while there is none the jobs are done here, so that messages move on, if slower.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.backoff import Backoff
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.twin import Twin
from rmb_peer.workers.frames import EXIT_NOISE, HEAD, BrokenPipeData, FrameReader, encode, encode_all
from rmb_peer.workers.jobs import (
    KEYS,
    OPEN,
    READY,
    SEAL,
    Job,
    Result,
    UnknownJob,
    carry_out,
    encode_keys,
    open_here,
    open_job,
    result_of,
    seal_here,
    seal_job,
)
from rmb_peer.workers.stage import BATCH_JOBS, Stage

JOB_BYTES_MAX = 16 * 1024
"""Larger envelopes are sealed or opened here, in their order. Measured: to copy 16 KiB to a worker and back costs the
gateway about as much as the work (for 100 bytes it is a third, for 64 KiB more than all of it)."""

START_S_MAX = 60.0
"""Longest wait for a new worker to take the keys. It needs 0.1 s; a loaded machine more."""

SILENT_S_MAX = 10.0
"""How long a worker that has jobs may answer none of them. A guess: the largest message takes about 0.1 s."""

LOOK_EVERY_S = 1.0
"""How often it is looked whether workers answer. Looks are counted, not seconds: a machine that was asleep has not
been watching."""

RESTART_S_FIRST, RESTART_S_MAX = 0.1, 15.0
"""Pauses before a worker is replaced; a guess. They begin anew when one has answered anything."""

END_S_MAX = 1.0
"""How long a process may go on after its pipe has closed; a guess. Only then is its own exit code known."""

READ_BYTES = 256 * 1024
"""As in `worker`."""

COMMAND = (sys.executable, "-m", "rmb_peer.workers.worker")

_PACKAGES = str(Path(__file__).parents[2])
_OUR_VARIABLES = "RMB_"
"""What they begin with. Some hold secrets, and a worker needs none of them."""

_LOG = get_logger("workers")


@dataclass
class _Place:
    """The place of one worker, and the process that has it now."""

    number: int
    process: asyncio.subprocess.Process | None = None
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    up: bool = False
    answers: int = 0
    seen_answers: int = 0
    silent_looks: int = 0
    why: str = ""
    """Why we ended it, if we did."""

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def reachable(self) -> bool:
        """Whether its end of the pipe is open, as far as the event loop knows."""
        return self.writer is not None and not self.writer.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send, if it is reachable: uvloop raises where asyncio forgets. What it does not get, it has not answered."""
        if self.writer is not None and self.reachable:
            self.writer.write(data)


@dataclass(frozen=True, slots=True)
class WorkersStatus:
    """How the workers are doing.

    Attributes:
        wanted: how many there should be.
        running: how many take jobs.
        jobs: waiting or being done.
        replaced: workers that ended and should not have.
    """

    wanted: int
    running: int
    jobs: int
    replaced: int


class Workers:
    """Several workers of one twin."""

    def __init__(
        self,
        count: int,
        identity: Identity,
        *,
        command: Sequence[str] = COMMAND,
        look_every_s: float = LOOK_EVERY_S,
        silent_looks_max: int = int(SILENT_S_MAX / LOOK_EVERY_S),
        start_s_max: float = START_S_MAX,
    ) -> None:
        """Start none yet; see `open_workers`.

        Args:
            count: how many.
            identity: the keys that they get.
            command: what starts one.
            look_every_s: see `LOOK_EVERY_S`.
            silent_looks_max: looks without an answer after which a worker counts as hung.
            start_s_max: see `START_S_MAX`.
        """
        self._identity = identity
        self._command = command
        self._look_every_s = look_every_s
        self._silent_looks_max = silent_looks_max
        self._start_s_max = start_s_max
        self._stage = Stage(self._do_here)
        self._places = [_Place(number) for number in range(1, count + 1)]
        self._something = asyncio.Event()
        self._roomy = asyncio.Event()
        self._replaced = 0

    @property
    def idle(self) -> bool:
        """Whether there are no jobs."""
        return not self._stage.jobs

    @property
    def opening(self) -> int:
        """Jobs that `open` was called for and that have not ended."""
        return self._stage.count_of(OPEN)

    @property
    def pids(self) -> list[int]:
        """Processes that take jobs."""
        return [place.pid for place in self._places if place.up and place.pid is not None]

    def status(self) -> WorkersStatus:
        """Counts for people."""
        running = sum(place.up for place in self._places)
        return WorkersStatus(len(self._places), running, self._stage.jobs, self._replaced)

    def seal(
        self,
        lane: int,
        envelope: Envelope,
        receiver_public_key: bytes | None,
        now_s: int,
        done: Callable[[Result], None],
    ) -> None:
        """`seal_and_sign` elsewhere; the envelope is read now.

        Args:
            lane: the receiver; results for one come in the order of the calls.
            envelope, receiver_public_key, now_s: see `seal_and_sign`.
            done: gets the serialised envelope, or what `seal_and_sign` raises.
        """
        if envelope.ByteSize() + len(receiver_public_key or b"") > JOB_BYTES_MAX:
            self._stage.put_result(-lane, SEAL, seal_here(self._identity, envelope, receiver_public_key, now_s), done)
        else:
            self._submit(-lane, seal_job(envelope, receiver_public_key, now_s), done)

    def open(self, envelope: Envelope, sender: Twin, done: Callable[[Result], None]) -> None:
        """`verify_envelope` and `open_payload` elsewhere; results for one sender come in the order of the calls.

        Args:
            envelope: read now.
            sender: its record.
            done: gets the payload in clear, or what these functions raise.
        """
        account, key = sender.account, sender.public_key
        if envelope.ByteSize() + len(account) + len(key or b"") > JOB_BYTES_MAX:
            self._stage.put_result(sender.id, OPEN, open_here(self._identity, envelope, account, key), done)
        else:
            self._submit(sender.id, open_job(envelope, account, key), done)

    async def room(self) -> None:
        """Wait while too much waits to be opened."""
        while not self._stage.has_room(OPEN):
            self._roomy.clear()
            await self._roomy.wait()

    def _submit(self, lane: int, job: Job, done: Callable[[Result], None]) -> None:
        self._stage.submit(lane, job, done)
        self._something.set()

    def _do_here(self, job: Job) -> Result:
        return result_of(*carry_out(self._identity, job))

    # --- processes ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the processes, without waiting until they are ready.

        Raises:
            OSError: the operating system starts none.
        """
        for place in self._places:
            await self._spawn(place)

    async def ready(self) -> None:
        """Wait until each has taken the keys.

        Raises:
            BadRequest: one did not; says why, and what to do.
        """
        for place in self._places:
            try:
                await self._greet(place)
            except OSError as error:
                raise cannot_start(len(self._places), str(error)) from None

    async def run(self) -> None:
        """Give out jobs, replace what ends; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._give())
            tasks.create_task(self._look())
            for place in self._places:
                tasks.create_task(self._keep(place))

    async def close(self) -> None:
        """End all processes. They hold nothing that would have to be saved."""
        for place in self._places:
            await self._end(place)

    async def _give(self) -> None:
        stage = self._stage
        while True:
            await self._something.wait()
            self._something.clear()
            while stage.waiting:
                up = [place for place in self._places if place.up and place.reachable]
                free = [place for place in up if stage.can_take(place.number)]
                if free:
                    place = min(free, key=lambda place: stage.held_by(place.number))
                    place.write(encode_all(stage.take(place.number)))
                elif up:
                    break  # their answers wake us
                else:
                    stage.do_here(BATCH_JOBS)
                    self._tell_room()
                    await asyncio.sleep(0)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            for place in self._places:
                silent = place.up and place.answers == place.seen_answers and self._stage.held_by(place.number)
                place.silent_looks = place.silent_looks + 1 if silent else 0
                place.seen_answers = place.answers
                if place.silent_looks >= self._silent_looks_max and not place.why:
                    place.why = f"it answered nothing for {place.silent_looks * self._look_every_s:g} s"
                    _kill(place)

    async def _keep(self, place: _Place) -> None:
        pauses = Backoff(RESTART_S_FIRST, RESTART_S_MAX, random.random)
        while True:
            if place.up:
                self._something.set()
                answers = place.answers
                reason = await self._hear(place)
                if place.answers > answers:
                    pauses.reset()
                await self._lose(place, reason)
            await asyncio.sleep(pauses.next_s())
            try:
                await self._spawn(place)
                await self._greet(place)
                event(_LOG, logging.INFO, "worker started", worker=place.number, pid=place.pid)
            except OSError as error:
                event(_LOG, logging.WARNING, "worker cannot be started", worker=place.number, reason=str(error))
                await self._end(place)

    async def _lose(self, place: _Place, reason: str) -> None:
        """A worker has ended, or must."""
        pid = place.pid
        await self._end(place)
        self._replaced += 1
        jobs = self._stage.lost(place.number)
        event(
            _LOG,
            logging.WARNING,
            "worker ended: its jobs go to others, and it is started again",
            worker=place.number,
            pid=pid,
            reason=place.why or reason,
            jobs=jobs,
        )
        self._something.set()
        self._tell_room()

    async def _hear(self, place: _Place) -> str:
        """Take results until there are no more; returns why there are none."""
        frames = FrameReader()
        while data := await _read(place):
            try:
                for frame in frames.feed(data):
                    self._stage.answered(place.number, frame)
                    place.answers += 1
            except (BrokenPipeData, UnknownJob) as error:
                return f"it does not answer as a worker does: {error}"
            self._something.set()
            self._tell_room()
        return await _ending_of(place)

    def _tell_room(self) -> None:
        if self._stage.has_room(OPEN):
            self._roomy.set()

    async def _spawn(self, place: _Place) -> None:
        place.why, place.silent_looks = "", 0
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                place.process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env=_environment(),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for us
                )
            except BaseException:
                ours.close()
                raise
        place.reader, place.writer = await asyncio.open_connection(sock=ours)
        place.write(encode(0, KEYS, encode_keys(self._identity)))

    async def _greet(self, place: _Place) -> None:
        """Wait for the answer to the keys.

        Raises:
            OSError: it does not come; says why.
        """
        assert place.reader is not None
        try:
            async with asyncio.timeout(self._start_s_max):
                answer = await place.reader.readexactly(HEAD.size)
        except TimeoutError:
            raise OSError(f"it did not start within {self._start_s_max:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise OSError(await _ending_of(place)) from None
        if answer != encode(0, READY, b""):
            raise OSError("it does not answer as a worker does")
        place.up = True

    async def _end(self, place: _Place) -> None:
        place.up = False
        if place.writer is not None:
            place.writer.transport.abort()
            place.writer = None
        if place.process is not None:
            _kill(place)
            await place.process.wait()
            place.process = None


@asynccontextmanager
async def open_workers(
    count: int, identity: Identity, command: Sequence[str] = COMMAND
) -> AsyncIterator[Workers | None]:
    """Start workers; they end with the context. `None` when none are wanted.

    They need about 0.1 s, in which the caller can do something else: call `ready` later.

    Raises:
        BadRequest: none can be started; says why, and what to do.
    """
    if not count:
        yield None
        return
    workers = Workers(count, identity, command=command)
    try:
        try:
            await workers.start()
        except OSError as error:
            raise cannot_start(count, str(error)) from None
        yield workers
    finally:
        await workers.close()


def cannot_start(count: int, why: str) -> BadRequest:
    """The error of a gateway that was told to use workers and cannot."""
    return BadRequest(f"workers is {count}, and a worker process cannot be started: {why}; 0 works without any")


def _environment() -> dict[str, str]:
    """Ours without what may hold secrets, and so that the worker's code is the one that runs here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OUR_VARIABLES)}
    paths = [_PACKAGES, *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def _kill(place: _Place) -> None:
    if place.process is not None and place.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and we are about to hear of it
            place.process.kill()


async def _read(place: _Place) -> bytes:
    """What has come from a worker; nothing when it has ended, whatever it left unread."""
    assert place.reader is not None
    try:
        return await place.reader.read(READ_BYTES)
    except ConnectionError:
        return b""


async def _ending_of(place: _Place) -> str:
    """What the operating system says about a process whose pipe has closed."""
    assert place.process is not None
    try:
        async with asyncio.timeout(END_S_MAX):
            code = await place.process.wait()
    except TimeoutError:
        _kill(place)  # it has closed its pipe and lives on: of no use
        code = await place.process.wait()
    if code == EXIT_NOISE:
        return "it could not read what it was sent"
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with code {code}"
