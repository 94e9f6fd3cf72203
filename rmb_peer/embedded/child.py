"""A child process that must not outlive us, and must not be ended by the Ctrl-C that is meant for us."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """For `preexec_fn`: ask the kernel to send a signal to this child when its parent dies, even by SIGKILL.

    Elsewhere than on Linux this does nothing; there a server left behind is found again by its socket.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
