"""How long an operation may take, from `-t` and the limits of spec remaphore 13 to 15."""

import asyncio

from rmb_peer.remaphore.core import durations

CONNECT_S_MIN = 1.0
"""A `-t` shorter than this still leaves so much time to reach a server that is there: the Go program does not count
connecting at all, and scripts with `-t 1ms -s` work with it."""

UNREACHABLE_S = 10.0
"""Without `-t`, sending gives up after this time (section 13)."""


class Patience:
    """The deadlines of one run, in the time of the event loop; counted from the moment this is made."""

    def __init__(self, timeout_ns: int) -> None:
        """Begin to count.

        Args:
            timeout_ns: the value of `-t`; zero or negative means none.
        """
        self._start_s = asyncio.get_running_loop().time()
        self._timeout_s = durations.seconds(timeout_ns) if timeout_ns > 0 else None

    @property
    def end_s(self) -> float | None:
        """When the whole operation ends; `None` for never."""
        return None if self._timeout_s is None else self._start_s + self._timeout_s

    @property
    def connect_s(self) -> float | None:
        """Until when a receiver tries to connect; `None` for ever."""
        return None if self._timeout_s is None else self._start_s + max(self._timeout_s, CONNECT_S_MIN)

    @property
    def publish_s(self) -> float:
        """Until when a message must have been taken by a server."""
        return self._start_s + UNREACHABLE_S if self.connect_s is None else self.connect_s
