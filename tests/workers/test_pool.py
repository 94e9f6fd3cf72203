"""Real worker processes: what they answer, what becomes of their work when they end, hang or go mad."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rmb_peer import app
from rmb_peer.config import GatewayConfig
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX, Envelope, parse_envelope, seal_and_sign, verify_envelope
from rmb_peer.protocol.errors import BadRequest, CannotDecrypt, CannotEncrypt, InvalidSignature, SenderHasNoPublicKey
from rmb_peer.protocol.twin import Twin
from rmb_peer.workers.frames import EXIT_NOISE
from rmb_peer.workers.jobs import OPEN, Result
from rmb_peer.workers.pool import COMMAND, JOB_BYTES_MAX, Workers, open_workers
from tests.support.gateways import new_identity
from tests.support.workers import running

PATIENCE_S = 60.0
NOW_S = int(time.time())
US, THEM = new_identity("sr25519"), new_identity("ed25519")
SENDER = Twin(7, THEM.account, frozenset(), THEM.public_key)


def draft(text: str) -> Envelope:
    envelope = Envelope(uid=text, timestamp=NOW_S, expiration=600, plain=text.encode())
    envelope.request.command = "c"
    envelope.source.twin, envelope.destination.twin = 7, 8
    return envelope


def from_them(text: str) -> Envelope:
    envelope = draft(text)
    seal_and_sign(envelope, THEM.signer, THEM.encryption, US.public_key, NOW_S)
    return envelope


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)  # polls what processes do


def pids(workers: Workers) -> set[int]:
    return set(workers.pids)


async def opened(workers: Workers, count: int) -> list[Result]:
    """Open so many messages of one sender."""
    results: list[Result] = []
    for number in range(count):
        workers.open(from_them(str(number)), SENDER, results.append)
    await until(lambda: len(results) == count)
    return results


async def test_workers_seal_and_open_in_order_and_fail_as_this_process_does() -> None:
    """Both directions through two workers; a forged, a keyless and a damaged message come out in their places."""
    async with running(Workers(2, US)) as workers:
        assert len(pids(workers)) == 2
        sealed: list[Result] = []
        for number in range(100):
            workers.seal(8, draft(str(number)), THEM.public_key, NOW_S, sealed.append)
        got: list[Result] = []
        forged, damaged = from_them("forged"), from_them("damaged")
        forged.uid, damaged.cipher = "x", b"short"
        seal_and_sign(damaged_plain := draft("plain"), THEM.signer, THEM.encryption, None, NOW_S)
        workers.open(from_them("first"), SENDER, got.append)
        workers.open(forged, SENDER, got.append)
        workers.open(from_them("keyless"), Twin(7, THEM.account, frozenset(), None), got.append)
        workers.open(from_them("wrong key"), Twin(7, THEM.account, frozenset(), US.public_key), got.append)
        workers.open(damaged_plain, SENDER, got.append)
        await until(lambda: len(sealed) == 100 and len(got) == 5)
        assert workers.idle
        envelopes = [parse_envelope(result) for result in sealed if isinstance(result, bytes)]
        assert [envelope.uid for envelope in envelopes] == [str(number) for number in range(100)]
        for envelope in envelopes:
            verify_envelope(envelope, US.account)
            assert THEM.encryption.open(envelope.cipher, US.public_key) == envelope.uid.encode()
        assert (got[0], got[4]) == (b"first", b"plain")
        assert [type(result) for result in got[1:4]] == [InvalidSignature, SenderHasNoPublicKey, CannotDecrypt]
    assert not pids(workers)


async def test_a_killed_worker_loses_nothing_and_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Killed in the middle of its work: every result comes, once and in order; the log says so; another starts."""
    async with running(Workers(2, US)) as workers:
        before = pids(workers)
        results: list[Result] = []
        for number in range(600):
            workers.open(from_them(str(number)), SENDER, results.append)
        await until(lambda: len(results) > 20)
        os.kill(min(before), signal.SIGKILL)
        await until(lambda: len(results) == 600)
        assert results == [b"%d" % number for number in range(600)]
        await until(lambda: len(pids(workers)) == 2)
        assert min(before) not in pids(workers)
        status = workers.status()
        assert (status.wanted, status.running, status.jobs, status.replaced) == (2, 2, 0, 1)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    fields: dict[str, Any] = vars(warning)["fields"]
    assert (fields["reason"], fields["pid"]) == ("it was ended by SIGKILL", min(before))


async def test_a_hung_worker_is_ended_and_its_work_done(caplog: pytest.LogCaptureFixture) -> None:
    """One that stands still with jobs is killed after some looks, and another process does them."""
    async with running(Workers(1, US, look_every_s=0.05, silent_looks_max=20)) as workers:
        (pid,) = pids(workers)
        os.kill(pid, signal.SIGSTOP)
        assert await opened(workers, 50) == [b"%d" % number for number in range(50)]
        await until(lambda: pids(workers) and pid not in pids(workers))
    assert any("answered nothing for 1 s" in str(vars(record).get("fields")) for record in caplog.records)


async def test_signals_for_the_gateway_do_not_end_workers() -> None:
    """SIGINT and SIGTERM, which a terminal or a supervisor sends to all: they work on while the gateway stops."""
    async with running(Workers(1, US)) as workers:
        before = pids(workers)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(min(before), number)
        assert len(await opened(workers, 20)) == 20
        assert (pids(workers), workers.status().replaced) == (before, 0)


MAD = """
import os, socket
from rmb_peer.workers.frames import encode
from rmb_peer.workers.frames import EXIT_NOISE
from rmb_peer.workers.jobs import READY
pipe = socket.socket(fileno=0)
pipe.recv(65536)
pipe.sendall(encode(0, READY, b""))
pipe.recv(65536)
pipe.sendall({noise})
pipe.recv(65536)
"""


@pytest.mark.parametrize("noise", ["os.urandom(1000)", "encode(999, 16, b'')", "encode(1, 77, b'')", "b''"])
async def test_noise_from_a_worker_is_not_believed(noise: str, caplog: pytest.LogCaptureFixture) -> None:
    """What answers as no worker does is ended; after some of them the jobs are done without."""
    command = (sys.executable, "-c", MAD.format(noise=noise))
    async with running(Workers(1, US, command=command, look_every_s=0.05, silent_looks_max=10)) as workers:
        assert await opened(workers, 5) == [b"0", b"1", b"2", b"3", b"4"]
    reasons = [str(vars(record).get("fields", {}).get("reason")) for record in caplog.records]
    assert any("it does not answer as a worker does" in reason or "answered nothing" in reason for reason in reasons)


async def test_noise_towards_a_worker_ends_it() -> None:
    """A worker that reads no frames or no keys says by its exit code that it could not read them."""
    for noise in (b"\xff" * 64, bytes(64), b""):
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(*COMMAND, stdin=theirs.fileno())
        with ours:
            ours.send(noise)
            ours.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == (EXIT_NOISE if noise else 0)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((sys.executable, "-c", "raise SystemExit(9)"), "it ended with code 9"),
        ((sys.executable, "-c", "import os; os.write(0, bytes(99)); input()"), "it does not answer as a worker does"),
        ((sys.executable, "-c", "import time; time.sleep(1000)"), "it did not start within 0.5 s"),
    ],
)
async def test_a_worker_that_does_not_start_is_told(command: tuple[str, ...], why: str) -> None:
    """The error says why, and what to do; nothing is left running."""
    workers = Workers(1, US, command=command, start_s_max=0.5 if "sleep" in command[2] else PATIENCE_S)
    await workers.start()
    try:
        with pytest.raises(BadRequest, match=f"workers is 1, .* cannot be started: {why}; 0 works without any"):
            await workers.ready()
    finally:
        await workers.close()


async def test_a_program_that_is_not_there_is_told() -> None:
    """What the operating system says becomes words; with 0 nothing is started."""
    with pytest.raises(BadRequest, match=r"cannot be started: .*No such file"):
        async with open_workers(1, US, ("/no/such/program",)):
            pass
    async with open_workers(0, US, ("/no/such/program",)) as workers:
        assert workers is None


async def test_a_gateway_that_cannot_start_its_workers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so before it asks anybody, with the error that `rmb-peer` turns into exit code 2."""
    monkeypatch.setattr(app, "open_workers", partial(open_workers, command=("/no/such/program",)))
    with pytest.raises(BadRequest, match=r"^workers is 2, and a worker process cannot be started: .*; 0 works without"):
        await app.Gateway(GatewayConfig(workers=2), US).run()


@pytest.mark.parametrize("size", [JOB_BYTES_MAX // 2, MESSAGE_BYTES_MAX - 1000])
async def test_large_messages_keep_their_place(size: int) -> None:
    """Above a size the gateway does them itself, below it a worker: both come out between their neighbours."""
    async with running(Workers(1, US)) as workers:
        sealed, opened = list[Result](), list[Result]()
        for text in ("before", "large", "after"):
            envelope = draft(text)
            envelope.plain = bytes(size) if text == "large" else text.encode()
            workers.seal(8, envelope, US.public_key, NOW_S, sealed.append)
        await until(lambda: len(sealed) == 3)
        for result in sealed:
            assert isinstance(result, bytes)
            workers.open(parse_envelope(result), Twin(8, US.account, frozenset(), US.public_key), opened.append)
        assert isinstance(sealed[1], bytes)
        forged = parse_envelope(sealed[1])
        forged.uid = "x"
        workers.open(forged, Twin(8, US.account, frozenset(), US.public_key), opened.append)
        workers.seal(8, envelope, b"no key", NOW_S, opened.append)
        await until(lambda: len(opened) == 5)
        assert opened[:3] == [b"before", bytes(size), b"after"]
        assert {type(result) for result in opened[3:]} == {InvalidSignature, CannotEncrypt}
        assert workers.status().replaced == 0


async def test_without_any_worker_messages_move_on() -> None:
    """While none can be started the work is done here, and receiving is not held up for ever."""
    async with running(Workers(1, US)) as workers:
        workers._command = ("/no/such/program",)
        os.kill(min(pids(workers)), signal.SIGKILL)
        await until(lambda: not pids(workers))
        assert len(await opened(workers, 40)) == 40
        async with asyncio.timeout(PATIENCE_S):
            await workers.room()


async def test_secrets_are_in_no_argument_and_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys travel through the socket: neither the command line nor the variables of a worker hold any."""
    monkeypatch.setenv("RMB_MNEMONIC", "0x" + US.mini.hex())
    async with running(Workers(1, US)) as workers:
        (pid,) = pids(workers)
        told = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"rmb_peer.workers.worker" in told
        assert US.mini.hex().encode() not in told
        assert US.mini not in told
        assert Path(f"/proc/{pid}/comm").read_text() == "rmb-peer-crypto\n"


async def test_receiving_waits_at_the_limit() -> None:
    """`room` waits while as much is being opened as may, and no longer."""
    async with running(Workers(1, US)) as workers:
        os.kill(min(pids(workers)), signal.SIGSTOP)
        results: list[Result] = []
        message = from_them("x")
        while workers._stage.has_room(OPEN):
            workers.open(message, SENDER, results.append)
        waiting = asyncio.create_task(workers.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        os.kill(min(pids(workers)), signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        assert results
        await until(lambda: workers.idle)
