"""Runs many short command lines of remaphore, each in a process of its own, for the price of one import.

Run as a program: reads a JSON list of `[folder, arguments]` on standard input, forks for each with everything imported
already, and writes a JSON list of exit codes; what each one said is in `out` and `err` in its folder.
"""

import json
import os
import sys
from pathlib import Path

AT_ONCE = 4


def _child(folder: Path, arguments: list[str]) -> None:
    from rmb_peer.remaphore import cli

    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["remaphore", *arguments]
    code = 70  # what sysexits.h calls an internal error
    try:
        code = cli.main()
        sys.stdout.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Fork, wait, report."""
    from rmb_peer.remaphore.loading import load_nats

    load_nats([])
    import rmb_peer.remaphore.receiving
    import rmb_peer.remaphore.requesting  # noqa: F401

    codes: dict[int, int] = {}
    running: dict[int, int] = {}
    for number, (folder, arguments) in enumerate(json.load(sys.stdin)):
        if len(running) >= AT_ONCE:
            _reap(running, codes)
        pid = os.fork()
        if pid == 0:
            _child(Path(folder), arguments)
        running[pid] = number
    while running:
        _reap(running, codes)
    json.dump([codes[number] for number in sorted(codes)], sys.stdout)


def _reap(running: dict[int, int], codes: dict[int, int]) -> None:
    pid, status = os.wait()
    codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
