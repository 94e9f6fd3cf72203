"""What a process and the one that started it say to each other, over a socket pair: lines of JSON.

From the process: `ready`, `sample` (its metrics, when asked), `scrape` (somebody asked it for the metrics of all).
To it: `sample` (tell yours), `scraped` (the metrics of all). When the other end is gone, the process stops in order:
nobody would start it again, and its store may be going, too.

This module refuses to know how processes are started.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from relay.config import RelayConfig
from rmb_peer.logs import event, get_logger

LINE_BYTES_MAX = 16 * 1024 * 1024
"""Longest line; the metrics of a relay with very many neighbours are some hundred KB. A guess."""

SCRAPE_S_MAX = 5.0
"""How long a scrape waits for the others; then it tells about this process alone. A guess below Prometheus' 10 s."""

VARIABLE = "RMB_RELAY_PROCESS"
"""Environment variable that makes a program one of several processes:
`<number>:<port>:<admin port>:<file descriptor>`."""

SEED_BYTES = 32

_LOG = get_logger("relay.control")


@dataclass(frozen=True, slots=True)
class Place:
    """Which of several processes this is.

    Attributes:
        number: from 0.
        port: the one that all of them share.
        descriptor: of the socket to the process that started this one.
        admin_port: the one for metrics and health that all of them share, if that is another one; else 0.
        probe_seed: what all of them probe with, see `probe.ProbeIdentity`; `None` before it was read.
    """

    number: int
    port: int
    descriptor: int
    admin_port: int = 0
    probe_seed: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> "Place | None":
        """The place that our starter gave us; `None` when nobody did. Children of ours do not inherit it.

        The seed comes by the socket, before any line: other programs can read an environment.
        """
        text = os.environ.pop(VARIABLE, None)
        if text is None:
            return None
        number, port, admin_port, descriptor = map(int, text.split(":"))
        with socket.socket(fileno=os.dup(descriptor)) as line:
            probe_seed = line.recv(SEED_BYTES, socket.MSG_WAITALL)
        return cls(number, port, descriptor, admin_port, probe_seed)

    def put(self, config: RelayConfig) -> RelayConfig:
        """The configuration of the relay at this place."""
        operating = config.operating
        if self.admin_port:
            operating = replace(operating, admin_port=self.admin_port)
        return replace(config, listen_port=self.port, shared_port=True, operating=operating)

    def variable(self) -> dict[str, str]:
        """For the environment of the process."""
        return {VARIABLE: f"{self.number}:{self.port}:{self.admin_port}:{self.descriptor}"}


class Control:
    """Our end of the line to the process that started us. Run `run` as a task."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        own_metrics: Callable[[], bytes],
        stop: Callable[[], None],
    ) -> None:
        """Use `open`."""
        self._reader = reader
        self._writer = writer
        self._own_metrics = own_metrics
        self._stop = stop
        self._waiting: list[asyncio.Future[bytes]] = []

    @classmethod
    async def open(cls, place: Place, own_metrics: Callable[[], bytes], stop: Callable[[], None]) -> "Control":
        """Take over the socket.

        Args:
            place: ours.
            own_metrics: tells ours.
            stop: called when the other end is gone.
        """
        line = socket.socket(fileno=place.descriptor)
        line.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=line, limit=LINE_BYTES_MAX)
        return cls(reader, writer, own_metrics, stop)

    def ready(self, address: str) -> None:
        """We serve."""
        write_line(self._writer, {"say": "ready", "address": address})

    async def run(self) -> None:
        """Answer until the other end is gone."""
        while (message := await read_line(self._reader)) is not None:
            if message.get("say") == "sample":
                write_line(self._writer, {"say": "sample", "text": self._own_metrics().decode()})
            elif message.get("say") == "scraped":
                waiting, self._waiting = self._waiting, []
                for future in waiting:
                    if not future.done():
                        future.set_result(str(message["text"]).encode())
        event(_LOG, logging.WARNING, "the process that started this one is gone: stopping")
        self._stop()

    async def scrape(self) -> bytes:
        """The metrics of all processes; ours alone when they cannot be had in time."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        write_line(self._writer, {"say": "scrape"})
        try:
            async with asyncio.timeout(SCRAPE_S_MAX):
                return await future
        except TimeoutError:
            event(_LOG, logging.WARNING, "no metrics of the other processes")
            return self._own_metrics()

    def close(self) -> None:
        """Close our end."""
        self._writer.close()


def write_line(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Send a message; to an end that is gone this does nothing."""
    if not writer.is_closing():
        writer.write(json.dumps(message).encode() + b"\n")


async def read_line(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; `None` when there will be none."""
    try:
        line = await reader.readline()
    except (OSError, ValueError):  # longer than a line may be
        return None
    if not line.endswith(b"\n"):
        return None
    message: dict[str, Any] = json.loads(line)
    return message
