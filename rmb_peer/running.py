"""Runs a server from the command line until a signal asks it to stop. Shared by gateway and relay."""

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

from rmb_peer.garbage import collect_seldom


class Stoppable(Protocol):
    """A server that runs until it is told to stop."""

    async def run(self) -> None:
        """Serve until stopped."""
        ...

    def stop(self) -> None:
        """Ask to stop in order."""
        ...


def run_until_signalled(make: Callable[[], Stoppable]) -> None:
    """Build a server inside an event loop and run it until SIGINT or SIGTERM; a second signal ends it at once.

    Uses uvloop when it is installed.

    Args:
        make: builds the server; called inside the loop.
    """

    async def serve() -> None:
        server = make()
        collect_seldom()
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            loop.remove_signal_handler(number)  # the next one has its default effect
            server.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        await server.run()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
