"""What a TCP connection tells about its progress, below any protocol: are bytes leaving, are bytes arriving.

Without this a link that is busy with one large message on a slow line looks dead (`protocol/heartbeat.py`).
"""

import asyncio
import contextlib
import socket
import struct
import sys

UNSENT_BYTES_MAX = 128 * 1024
"""Bytes that the kernel may hold unsent, so that progress on a slow link is seen; a guess, a few round trips' worth."""

PARTIAL_S = 0.5
"""Bytes that came this much after the last whole frame belong to an unfinished one. A guess, far above scheduling
delays."""

_LAST_DATA_RECEIVED_OFFSET = 52  # tcpi_last_data_recv in struct tcp_info, Linux; milliseconds

_GONE = (OSError, ValueError)
"""What asking a closed connection raises: with asyncio the first, with uvloop the second."""


def limit_unsent(transport: asyncio.Transport) -> None:
    """Keep what is not yet on the wire in our own buffers, where it can be counted; no matter if it is gone already."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        tcp = transport.get_extra_info("socket")
        with contextlib.suppress(*_GONE):
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)


def silent_s(transport: asyncio.Transport) -> float | None:
    """How long ago the last byte arrived, in seconds; `None` if the system does not tell, or it is gone."""
    if sys.platform != "linux":
        return None
    try:
        tcp = transport.get_extra_info("socket")
        info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED_OFFSET + 4)
    except _GONE:
        return None
    return float(struct.unpack_from("=I", info, _LAST_DATA_RECEIVED_OFFSET)[0]) / 1000


def arriving_at(now_s: float, heard_s: float, silence_s: float | None) -> float:
    """When bytes last came that do not make a frame yet, for `Heartbeat.expire`.

    Args:
        now_s: monotonic seconds.
        heard_s: when the last complete frame came.
        silence_s: see `silent_s`.

    Returns:
        a time after `heard_s` if there are such bytes, else one before it.
    """
    if silence_s is None or now_s - silence_s < heard_s + PARTIAL_S:
        return heard_s - 1.0
    return now_s - silence_s
