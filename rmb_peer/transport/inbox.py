"""Frames between the sockets that read them and the one task that works on them: bounded by count and bytes."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

INBOX_FRAMES_MAX = 2048
"""A guess: several batches. The Rust gateway holds 200 frames for each relay (spec rmb 5.7)."""

INBOX_BYTES_MAX = 64 * 1024 * 1024
"""A guess: four of the largest messages."""


class Received(NamedTuple):
    """One frame.

    Attributes:
        data: its content.
        done: to be called once, when what it holds has been delivered or it is settled that it will not be.
    """

    data: bytes
    done: Callable[[], None]


class Inbox:
    """A queue of frames. A full one makes its writers wait, and with them the sockets they read."""

    def __init__(self, frames_max: int = INBOX_FRAMES_MAX, bytes_max: int = INBOX_BYTES_MAX) -> None:
        """Set the bounds; one frame is accepted whatever its size."""
        self._frames: deque[Received] = deque()
        self._bytes = 0
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._frames)

    def has_room(self) -> bool:
        """Whether `put` would return at once."""
        return not self._frames or (len(self._frames) < self._frames_max and self._bytes < self._bytes_max)

    async def put(self, frame: Received) -> None:
        """Add a frame, after waiting for room."""
        while not self.has_room():
            self._room.clear()
            await self._room.wait()
        self._frames.append(frame)
        self._bytes += len(frame.data)
        self._filled.set()

    async def wait_filled(self) -> None:
        """Return when there is at least one frame."""
        await self._filled.wait()

    def take(self, count_max: int) -> list[Received]:
        """Up to `count_max` frames, oldest first; none when it is empty."""
        count = min(count_max, len(self._frames))
        frames = [self._frames.popleft() for _ in range(count)]
        self._bytes -= sum(len(frame.data) for frame in frames)
        if not self._frames:
            self._filled.clear()
        self._room.set()
        return frames
