"""What signals ask of the relay: SIGTERM and SIGINT to stop in order, a second one at once, SIGHUP to reload.

It refuses to know how any of it is done.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from rmb_peer.logs import event, get_logger

STOPPING = (signal.SIGTERM, signal.SIGINT)

_STDERR = 2
_LOG = get_logger("relay")


class Terminal:
    """The terminal that a program was started from, if any.

    Closing it sends SIGHUP, too: then a relay in the foreground is to end, as its user expects, and not to reload.
    """

    def __init__(self, fd: int = _STDERR) -> None:
        """Look now whether there is one."""
        self._fd = fd
        self._was = os.isatty(fd)

    @property
    def gone(self) -> bool:
        """Whether there was one and is none any more."""
        return self._was and not os.isatty(self._fd)


def watch_signals(stop: Callable[[], None], reload: Callable[[], None], terminal: Terminal | None = None) -> None:
    """Have the signals of this process answered in its event loop.

    Args:
        stop: begins an orderly stop; called once. The next such signal has its default effect: an embedded store is
            told by the kernel to stop, and clients keep what was not confirmed.
        reload: called for each SIGHUP.
        terminal: what standard error is, by default.
    """
    loop = asyncio.get_running_loop()
    started_from = terminal or Terminal()
    asked = False

    def on_stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            event(_LOG, logging.WARNING, "second signal, stopping at once", signal=number.name)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        asked = True
        event(_LOG, logging.INFO, "stopping", signal=number.name)
        stop()

    def on_hangup() -> None:
        if not started_from.gone:
            reload()
        elif not asked:
            on_stop(signal.SIGHUP)

    for number in STOPPING:
        loop.add_signal_handler(number, on_stop, number)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
