"""The line between a process and the one that started it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from relay.config import RelayConfig
from relay.control import SEED_BYTES, VARIABLE, Control, Place, read_line, write_line
from relay.operating import Operating


class Line:
    """Both ends."""

    def __init__(self, control: Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.control = control
        self.reader = reader
        self.writer = writer
        self.stopped = asyncio.Event()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    stopped = asyncio.Event()
    control = await Control.open(Place(0, 80, theirs.detach()), lambda: b"own\n", stopped.set)
    line = Line(control, reader, writer)
    line.stopped = stopped
    running = asyncio.create_task(control.run())
    yield line
    writer.close()
    await running
    control.close()


def test_a_place_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes by the environment, and is taken out, so that no child of ours has it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        place = Place(3, 8080, theirs.fileno(), 8081)
        seed = bytes(range(SEED_BYTES))
        ours.sendall(seed + b"line")
        monkeypatch.setenv(VARIABLE, place.variable()[VARIABLE])
        assert Place.from_environment() == replace(place, probe_seed=seed)
        assert VARIABLE not in os.environ
        assert Place.from_environment() is None
        assert theirs.recv(9) == b"line"


def test_a_place_decides_on_ports() -> None:
    """Whatever the configuration says, also when it is read again, they are those that all processes share."""
    config = RelayConfig(listen_port=0, operating=Operating(admin_host="127.0.0.1", admin_port=0))
    put = Place(3, 8080, 7, 8081).put(config)
    assert (put.listen_port, put.operating.admin_port, put.shared_port) == (8080, 8081, True)
    assert Place(3, 8080, 7).put(config).operating == config.operating


async def test_samples_are_told(line: Line) -> None:
    """Asked for its metrics, a process tells them; it says by itself that it serves."""
    line.control.ready("127.0.0.1:80")
    write_line(line.writer, {"say": "sample"})
    assert await read_line(line.reader) == {"say": "ready", "address": "127.0.0.1:80"}
    assert await read_line(line.reader) == {"say": "sample", "text": "own\n"}


async def test_scrapes_are_passed_on(line: Line) -> None:
    """Who is scraped asks for everything, and answers all who wait with it."""
    scrapes = [asyncio.create_task(line.control.scrape()) for _ in range(2)]
    assert await read_line(line.reader) == await read_line(line.reader) == {"say": "scrape"}
    write_line(line.writer, {"say": "scraped", "text": "all\n"})
    assert await asyncio.gather(*scrapes) == [b"all\n", b"all\n"]


async def test_nobody_answers_a_scrape(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is answered with what this process knows."""
    monkeypatch.setattr("relay.control.SCRAPE_S_MAX", 0.05)
    assert await line.control.scrape() == b"own\n"


async def test_the_other_end_goes(line: Line) -> None:
    """A process that nobody would start again stops."""
    line.writer.close()
    await asyncio.wait_for(line.stopped.wait(), 60)


@pytest.mark.parametrize("noise", [b"", b"{", b'{"say": "half'])
async def test_an_end_within_a_line(noise: bytes) -> None:
    """What is no whole line is no message."""
    reader = asyncio.StreamReader()
    reader.feed_data(noise)
    reader.feed_eof()
    assert await read_line(reader) is None
