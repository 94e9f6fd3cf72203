"""Ctrl-C in the midst of a benchmark leaves no process behind."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from tests.benchmarks.__main__ import EXIT_STOPPED

MARK = "RMB_BENCHMARK_TEST"


def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    """All processes of the terminal get SIGINT while envelopes are on their way; soon none of them is there."""
    mark = f"{MARK}={uuid.uuid4()}"
    arguments = ("--parts", "relay", "--protocols", "rmb.2", "--rounds", "100000")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        env={**os.environ, MARK: mark.partition("=")[2], "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            assert running.stderr is not None
            while "relay 2/" not in (line := running.stderr.readline()):
                assert line, "it ended by itself"
            assert len(marked(mark)) > 3, "the relay, its store, the echo and clients"
            os.killpg(running.pid, signal.SIGINT)
            rest = running.stderr.read()
            assert running.wait() == EXIT_STOPPED, rest
            assert "Traceback" not in rest
            assert marked(mark) == []
            assert list(tmp_path.iterdir()) == []
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Processes that live and have this in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile, or of another user
            continue
    return found
