"""One worker process: `python -m rmb_peer.workers.worker`, started by `pool` with a socket as standard input.

The first frame holds the keys; then jobs come in and results go out, until the other end closes. It imports only what
the work needs, reads no settings, and writes nothing but results.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable

from rmb_peer.protocol.identity import Identity
from rmb_peer.workers.frames import EXIT_NOISE, BrokenPipeData, FrameReader, encode
from rmb_peer.workers.jobs import KEYS, READY, Job, UnknownJob, carry_out, decode_keys
from rmb_peer.workers.stage import BATCH_JOBS

NAME = b"rmb-peer-crypto"
"""What `ps` and `top` call the process; 15 bytes is the most that Linux keeps."""

READ_BYTES = 256 * 1024
"""A guess: more than a batch of usual jobs."""

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # prctl(2), Linux


def serve(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
    """Answer until there is nothing more to read.

    Args:
        read: at most this many bytes, empty at the end.
        write: writes all of it.

    Raises:
        BrokenPipeData: what came is no frame.
        UnknownJob: a frame is no job.
    """
    reader = FrameReader()
    identity: Identity | None = None
    while data := read(READ_BYTES):
        results: list[bytes] = []
        for number, kind, body in reader.feed(data):
            if identity is None:
                if kind != KEYS:
                    raise UnknownJob("a job before the keys")
                identity = Identity.from_mini(*decode_keys(body), os.urandom)
                results.append(encode(number, READY, b""))
            else:
                results.append(encode(number, *carry_out(identity, Job(kind, body))))
            if len(results) == BATCH_JOBS:
                write(b"".join(results))
                results.clear()
        if results:
            write(b"".join(results))


def main() -> int:
    """Serve standard input, a socket; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the gateway, which still needs us while it stops
    _prepare()
    pipe = socket.socket(fileno=0)
    try:
        serve(pipe.recv, pipe.sendall)
    except (BrokenPipeData, UnknownJob):
        return EXIT_NOISE  # the gateway says so in its log
    except OSError:
        return 0  # the gateway has gone while we answered
    finally:
        pipe.close()
    return 0


def _prepare() -> None:
    """Take a name, and end with the gateway even when busy. Other systems than Linux do without: the pipe closes."""
    if sys.platform == "linux":
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_NAME, NAME, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
