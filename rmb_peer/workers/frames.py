"""How jobs and results are written into the pipe between a gateway and its workers: length, number, kind, body.

Both ends are ours, and still nothing is believed: a length has a limit, and what follows is bytes for somebody else to
read. It refuses to know what the bytes mean.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

HEAD = struct.Struct("<IQB")
"""Bytes of the body, number of the job, kind of the job or of its result."""

BODY_BYTES_MAX = 64 * 1024
"""Largest body. A guess: far above what the gateway gives to workers (`pool.JOB_BYTES_MAX`)."""


EXIT_NOISE = 3
"""How a worker ends that was sent no job: gateway and worker are not of one version, or somebody else has the pipe."""


class BrokenPipeData(Exception):
    """What came is no frame: the other end is not in its right mind."""


class Frame(NamedTuple):
    """One job or one result."""

    number: int
    kind: int
    body: bytes


def encode(number: int, kind: int, body: bytes) -> bytes:
    """The bytes of one frame."""
    return HEAD.pack(len(body), number, kind) + body


def encode_all(frames: Iterable[Frame]) -> bytes:
    """The bytes of several frames; each body is copied once."""
    parts: list[bytes] = []
    for number, kind, body in frames:
        parts += (HEAD.pack(len(body), number, kind), body)
    return b"".join(parts)


class FrameReader:
    """Cuts what arrives into frames."""

    def __init__(self, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        """Start with nothing read; `body_bytes_max` is the largest body that is accepted."""
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._needed = HEAD.size

    def feed(self, data: bytes) -> list[Frame]:
        """Take what arrived.

        Returns:
            the frames that are complete now.

        Raises:
            BrokenPipeData: a body would be too large. The reader is of no use afterwards.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._needed:
            return []  # a large body is looked at when all of it is here
        frames: list[Frame] = []
        begin, end = 0, len(buffer)
        self._needed = HEAD.size
        while end - begin >= HEAD.size:
            length, number, kind = HEAD.unpack_from(buffer, begin)
            if length > self._body_bytes_max:
                raise BrokenPipeData(f"a frame of {length} bytes; at most {self._body_bytes_max} are possible")
            if end - begin < HEAD.size + length:
                self._needed = HEAD.size + length
                break
            begin += HEAD.size
            frames.append(Frame(number, kind, bytes(memoryview(buffer)[begin : begin + length])))
            begin += length
        del buffer[:begin]
        return frames
