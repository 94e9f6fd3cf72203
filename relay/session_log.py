"""Log lines about sessions that come and go: each of them on a quiet relay, a sum a minute on a busy one.

Thousands of gateways reconnect now and then; a line for each would bury what matters. With `--debug` there is a line
for each, always.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from rmb_peer.logs import event, get_logger

LINES_MAX = 60
"""Lines at info in one period; then only the sum. A guess: one a second can still be read."""

PERIOD_S = 60.0

_LOG = get_logger("relay")


class SessionLog:
    """Says which sessions were opened and closed."""

    def __init__(self, connected: Callable[[], int], *, lines_max: int = LINES_MAX, period_s: float = PERIOD_S) -> None:
        """Begin a period with the first line.

        Args:
            connected: tells how many are connected.
            lines_max: lines at info in one period.
            period_s: its length.
        """
        self._connected = connected
        self._lines_max = lines_max
        self._period_s = period_s
        self._lines = 0
        self._opened = 0
        self._closed = 0
        self._timer: asyncio.TimerHandle | None = None

    def opened(self, quiet: bool, **fields: Any) -> None:
        """A session has begun; a quiet one is nobody's business but that of `--debug`."""
        if quiet:
            event(_LOG, logging.DEBUG, "session opened", **fields)
        else:
            self._opened += not self._say("session opened", fields)

    def closed(self, quiet: bool, **fields: Any) -> None:
        """A session has ended; see `opened`."""
        if quiet:
            event(_LOG, logging.DEBUG, "session closed", **fields)
        else:
            self._closed += not self._say("session closed", fields)

    def end(self) -> None:
        """Say what has not been said, and end the period."""
        if self._timer is not None:
            self._timer.cancel()
            self._on_period()

    def _say(self, text: str, fields: dict[str, Any]) -> bool:
        """Whether it was said at info."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period_s, self._on_period)
        at_info = self._lines < self._lines_max
        self._lines += 1
        event(_LOG, logging.INFO if at_info else logging.DEBUG, text, **fields)
        return at_info

    def _on_period(self) -> None:
        self._timer = None
        self._lines = 0
        if self._opened or self._closed:
            opened, closed, self._opened, self._closed = self._opened, self._closed, 0, 0
            event(_LOG, logging.INFO, "more sessions", opened=opened, closed=closed, connected=self._connected())
