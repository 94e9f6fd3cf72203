"""What the actions of `rmb-peer bao` share: engine, files, output, report. It refuses to know any action."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from rmb_peer.bao_files.parallel import THREADS_DEFAULT
from rmb_peer.bao_files.reading import FileBytes
from rmb_peer.commands.payload_text import printable
from rmb_peer.protocol.bao import (
    EVERYTHING,
    ChunkRanges,
    Damage,
    OutboardStore,
    Truncated,
    WrongArgument,
    best_engine,
    engine_named,
)
from rmb_peer.protocol.bao.engines import Engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES
from rmb_peer.protocol.bao.geometry import CHUNK_LOG_MAX, HEADER_BYTES, pairs_bytes
from rmb_peer.protocol.bao.layout import Order

PROG = "rmb-peer bao"

STREAM = "-"
"""Standard input or output."""

PIECE_BYTES = 4 * 2**20
"""Of a stream that is decoded: larger pieces hold larger subtrees, which are checked at once."""


def source_name(arguments: argparse.Namespace) -> str:
    """What a report of damage is about, as the front of a sentence."""
    name = getattr(arguments, "file", STREAM)
    return f"{'standard input' if str(name) == STREAM else printable(str(name))}: "


class Outcome:
    """Collects what `--json` tells."""

    def __init__(self, arguments: argparse.Namespace, engine_name: str) -> None:
        self._arguments = arguments
        self._begin = time.monotonic()
        self.fields: dict[str, Any] = {"action": arguments.action, "engine": engine_name}

    def tell(self, size: int, lines: list[str], output_is_taken: bool = False) -> None:
        """Print the report: the object if it is wanted, else the lines."""
        stream = sys.stderr if output_is_taken else sys.stdout
        if self._arguments.json:
            seconds = round(time.monotonic() - self._begin, 3)
            print(json.dumps(self.fields | {"bytes": size, "seconds": seconds}), file=stream)
        else:
            for line in lines:
                print(line, file=stream)


def engine_of(arguments: argparse.Namespace) -> Engine:
    """The engine that was asked for, or the best one.

    Raises:
        EngineUnavailable: it cannot be used here.
    """
    return best_engine() if arguments.engine == "auto" else engine_named(arguments.engine)


def threads_of(arguments: argparse.Namespace) -> int:
    """How many threads work at once."""
    return int(arguments.threads or THREADS_DEFAULT)


def open_store(arguments: argparse.Namespace, content: FileBytes, outboard: FileBytes) -> OutboardStore:
    """A file and its outboard under the claimed size."""
    order: Order = arguments.order
    has = outboard.size
    pairs_at = 0
    size = content.size if arguments.size is None else arguments.size
    if arguments.with_size:
        pairs_at = HEADER_BYTES if order == "pre" else 0
        place = 0 if order == "pre" else max(0, has - HEADER_BYTES)
        header = outboard.read_at(place, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise Truncated(Damage("truncated", "header"))
        size = int.from_bytes(header, "little") if arguments.size is None else size
    front = HEADER_BYTES if arguments.with_size else 0
    expected = pairs_bytes(size, arguments.chunk_log) + front
    if has != expected:
        fitting = [log for log in range(CHUNK_LOG_MAX + 1) if pairs_bytes(size, log) + front == has]
        if fitting and arguments.chunk_log not in fitting:
            raise WrongArgument(
                f"{printable(str(arguments.outboard))} has {has} bytes, and for chunk log {arguments.chunk_log} it "
                f"should have {expected}: say --chunk-log {fitting[0]}"
            )
    return OutboardStore(content.read_at, outboard.read_at, size, arguments.chunk_log, order, pairs_at)


def pwrite(descriptor: int, offset: int, data: bytes) -> None:
    """Write all bytes at an offset.

    Raises:
        OSError: writing failed.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def output(name: str, keep_part: bool = False) -> Iterator[BinaryIO]:
    """Where an action writes: standard output, or a file that appears when everything is in it.

    Args:
        name: of the file, or `-`.
        keep_part: write to the file itself, and leave in it what was written when the action fails.
    """
    if name == STREAM:
        if sys.stdout.isatty():
            raise WrongArgument("this would write bytes to a terminal: say with -o where they shall go")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if keep_part or (path.exists() and not path.is_file()):  # a device or pipe cannot be replaced
        with path.open("wb") as target:
            yield target
        return
    # A name of our own beside it, with the permissions of an ordinary new file.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("xb") as target:
            yield target
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def selection_of(arguments: argparse.Namespace) -> tuple[ChunkRanges, tuple[int, int] | None]:
    """The chunks that are wanted, and the bytes, if it was bytes that were named."""
    if arguments.chunks is not None:
        if arguments.start is not None or arguments.len is not None:
            raise WrongArgument("name the part by --chunks, or by --start and --len, not by both")
        return ChunkRanges.of(arguments.chunks), None
    if arguments.start is None and arguments.len is None:
        return EVERYTHING, None
    start = arguments.start or 0
    if arguments.len is None:
        return ChunkRanges.of([(start // CHUNK_BYTES, None)]), (start, 2**64)
    return ChunkRanges.of_bytes(start, arguments.len), (start, start + arguments.len)


def chunks_text(selection: ChunkRanges) -> str:
    """A selection as `--chunks` takes it: ends are included."""
    parts = []
    for start, end in selection.ranges():
        if end is None:
            parts.append(f"{start}-")
        else:
            parts.append(str(start) if end == start + 1 else f"{start}-{end - 1}")
    return ",".join(parts)


def damage_fields(damage: Damage) -> dict[str, Any]:
    """A report of damage for `--json`."""
    return {
        "kind": damage.kind, "item": damage.item, "start": damage.start, "length": damage.length,
        "number": damage.number, "text": str(damage),
    }  # fmt: skip
