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

_LOG = get_logger("relay")


def watch_signals(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """Have the signals of this process answered in its event loop.

    Args:
        stop: begins an orderly stop; called once. The next such signal has its default effect: an embedded store is
            told by the kernel to stop, and clients keep what was not confirmed.
        reload: called for each SIGHUP.
    """
    loop = asyncio.get_running_loop()
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

    for number in STOPPING:
        loop.add_signal_handler(number, on_stop, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
