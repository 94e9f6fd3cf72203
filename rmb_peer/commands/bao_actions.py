"""What the actions of `rmb-peer bao` do: files in, files and reports out. The rules are in `protocol/bao`."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from rmb_peer.bao_files.checking import findings
from rmb_peer.bao_files.encoding import (
    CollectedPairs,
    PlacedPairs,
    encode_file,
    encode_pieces,
    outboard_buffer,
)
from rmb_peer.bao_files.parallel import THREADS_DEFAULT
from rmb_peer.bao_files.progress import progress
from rmb_peer.bao_files.reading import FileBytes, stream_as_it_comes, stream_pieces
from rmb_peer.bao_files.repairing import Repair
from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain
from rmb_peer.commands.payload_text import printable
from rmb_peer.protocol.bao import (
    EVERYTHING,
    BadRange,
    Check,
    ChunkRanges,
    CombinedStore,
    Damage,
    Decoder,
    OutboardStore,
    Planner,
    Proven,
    Store,
    VerificationFailed,
    WrongArgument,
    best_engine,
    bytes_reader,
    engine_named,
    extract,
)
from rmb_peer.protocol.bao.check import Report
from rmb_peer.protocol.bao.engines import Engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES
from rmb_peer.protocol.bao.geometry import CHUNK_LOG_MAX, HEADER_BYTES, pairs_bytes
from rmb_peer.protocol.bao.layout import Order

PROG = "rmb-peer bao"

STREAM = "-"

_PIECE_BYTES = 4 * 2**20
"""Of a stream that is decoded: larger pieces hold larger subtrees, which are checked at once."""

_RANGES_SHOWN = 20
"""Damaged ranges that are told on standard error without `--ranges`; the rest is counted."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action.

    Raises:
        VerificationFailed: content that goes into an output is damaged.
        WrongArgument: the arguments do not fit together, or do not fit the files.
        EngineUnavailable: the engine that was asked for cannot be used.
        OSError: a file cannot be used.
        ContentChanged: a file became shorter meanwhile.
    """
    return _ACTIONS[arguments.action](arguments)


def printable_name(arguments: argparse.Namespace) -> str:
    """What a report of damage is about, as the front of a sentence."""
    name = getattr(arguments, "file", STREAM)
    return f"{'standard input' if str(name) == STREAM else printable(str(name))}: "


class _Outcome:
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


# --- encode, hash -----------------------------------------------------------------------------------------------------


def _encode(arguments: argparse.Namespace) -> int:
    engine = _engine(arguments)
    source: str = arguments.file
    if source == STREAM and arguments.combined:
        raise WrongArgument("a combined encoding needs a file: its first pair is known when everything was read")
    if source == STREAM and arguments.out is None:
        raise WrongArgument("say with -o where to write the outboard of standard input")
    if arguments.combined and (arguments.with_size or arguments.order != "pre"):
        raise WrongArgument("a combined encoding always has its size before it, and pre-order")
    if arguments.combined and arguments.out is None:
        raise WrongArgument("say with -o where to write the combined encoding")
    out = arguments.out or f"{source}.bao{arguments.chunk_log}"
    outcome = _Outcome(arguments, engine.name)
    with ExitStack() as stack:
        if source == STREAM:
            root, size, written = _encode_stream(arguments, engine, stack.enter_context(_output(out)))
        else:
            file = stack.enter_context(FileBytes(Path(source)))
            if out != STREAM and Path(out).exists() and Path(out).samefile(source):
                raise WrongArgument("the output would replace the content")
            target = stack.enter_context(_output(out))
            root, size, written = _encode_one(arguments, engine, file, target)
    outcome.fields |= {"root": root.hex(), "chunk_log": arguments.chunk_log, "written_bytes": written, "out": out}
    outcome.tell(size, [root.hex()], output_is_taken=out == STREAM)
    return EXIT_OK


def _encode_stream(arguments: argparse.Namespace, engine: Engine, target: BinaryIO) -> tuple[bytes, int, int]:
    sink = CollectedPairs()
    pieces = stream_pieces(sys.stdin.buffer, engine.levels_chunks_max * CHUNK_BYTES)
    with progress("encoding", None, not arguments.quiet) as advance:
        end = encode_pieces(pieces, arguments.chunk_log, sink, engine, _threads(arguments), advance)
    pairs = sink.outboard(end.size, arguments.chunk_log, arguments.order)
    return end.root, end.size, _write_outboard(arguments, target, pairs, end.size)


def _encode_one(
    arguments: argparse.Namespace, engine: Engine, file: FileBytes, target: BinaryIO
) -> tuple[bytes, int, int]:
    size, chunk_log = file.size, arguments.chunk_log
    written = 0
    if not arguments.combined and target.seekable():  # straight to their places: no outboard in memory
        front = HEADER_BYTES if arguments.with_size and arguments.order == "pre" else 0
        descriptor = target.fileno()
        sink = PlacedPairs(size, chunk_log, arguments.order, lambda at, pairs: _pwrite(descriptor, front + at, pairs))
        with progress("encoding", size, not arguments.quiet) as advance:
            end = encode_file(file, size, chunk_log, sink, engine, _threads(arguments), advance)
        if arguments.with_size:
            place = 0 if front else pairs_bytes(size, chunk_log)
            _pwrite(descriptor, place, size.to_bytes(HEADER_BYTES, "little"))
        return end.root, size, pairs_bytes(size, chunk_log) + (HEADER_BYTES if arguments.with_size else 0)
    buffer, sink = outboard_buffer(size, chunk_log, arguments.order)
    with progress("encoding", size, not arguments.quiet) as advance:
        end = encode_file(file, size, chunk_log, sink, engine, _threads(arguments), advance)
    if not arguments.combined:
        return end.root, size, _write_outboard(arguments, target, buffer, size)
    store = OutboardStore(file.read_at, bytes_reader(buffer), size, chunk_log)
    with progress("writing", size, not arguments.quiet) as advance:
        for piece in extract(store, end.root, engine=engine):
            target.write(piece)
            written += len(piece)
            advance(len(piece))
    return end.root, size, written


def _write_outboard(arguments: argparse.Namespace, target: BinaryIO, pairs: bytes | bytearray, size: int) -> int:
    header = size.to_bytes(HEADER_BYTES, "little") if arguments.with_size else b""
    parts = (header, pairs) if arguments.order == "pre" else (pairs, header)
    for part in parts:
        target.write(part)
    return sum(map(len, parts))


def _hash(arguments: argparse.Namespace) -> int:
    outcome = _Outcome(arguments, "blake3" if _blake3_is_wanted(arguments) else _engine(arguments).name)
    lines, total, failed = [], 0, False
    hashes: dict[str, str] = {}
    for name in arguments.files:
        try:
            root, size = _hash_one(arguments, name)
        except OSError as error:
            complain(PROG, f"cannot use {printable(name)}: {error.strerror or error}")
            failed = True
            continue
        hashes[name] = root
        total += size
        lines.append(f"{root}  {printable(name)}")
    outcome.fields["roots"] = hashes
    outcome.tell(total, lines)
    return EXIT_FAILED if failed else EXIT_OK


def _blake3_is_wanted(arguments: argparse.Namespace) -> bool:
    """Whether the blake3 package does it: for the hash alone nothing is faster than it and our default engine together."""
    if arguments.engine != "auto":
        return False
    try:
        import blake3  # noqa: F401
    except ImportError:
        return False
    return True


class _NoPairs:
    """Forgets pairs."""

    def put(self, block: object) -> None:
        """Forget some."""


def _hash_one(arguments: argparse.Namespace, name: str) -> tuple[str, int]:
    with ExitStack() as stack:
        if name == STREAM:
            stream: BinaryIO = sys.stdin.buffer
            total = None
        else:
            stream = stack.enter_context(Path(name).open("rb", buffering=0))
            total = os.fstat(stream.fileno()).st_size
        advance = stack.enter_context(progress("hashing", total, not arguments.quiet))
        if not _blake3_is_wanted(arguments):
            engine = _engine(arguments)
            pieces = stream_pieces(stream, engine.levels_chunks_max * CHUNK_BYTES)
            end = encode_pieces(pieces, CHUNK_LOG_MAX, _NoPairs(), engine, _threads(arguments), advance)
            return end.root.hex(), end.size
        from blake3 import blake3

        hasher, size = blake3(max_threads=_threads(arguments)), 0
        for piece in stream_pieces(stream, _PIECE_BYTES):
            hasher.update(piece)
            size += len(piece)
            advance(len(piece))
        return hasher.hexdigest(), size


# --- verify -----------------------------------------------------------------------------------------------------------


def _verify(arguments: argparse.Namespace) -> int:
    engine = _engine(arguments)
    outcome = _Outcome(arguments, engine.name)
    with FileBytes(arguments.file) as content, FileBytes(arguments.outboard) as outboard:
        store = _stored(arguments, content, outboard)
        check = Check(store, arguments.root, engine)
        report = Report(check)
        checked = 0
        with progress("verifying", store.size, not arguments.quiet) as advance:
            for finding in findings(check, _threads(arguments), advance):
                report.add(finding)
                if report.is_full:
                    break
                checked = sum(check.span(finding.subtree))
        surplus = content.size - store.size
    bad = report.bad
    # Only a proven size is a fact: it is when the last chunk is.
    surplus = surplus if surplus > 0 and report.is_good else 0
    outcome.fields |= {
        "good": report.is_good and not surplus,
        "size": store.size if report.is_good else None,
        "good_ranges": [_byte_range(*r, store.size) for r in report.good.ranges() if r[0] * CHUNK_BYTES < checked],
        "damage": [_damage_fields(r, store.size) for r in bad],
        "complete": not report.is_full,
        "surplus_bytes": surplus,
    }
    lines = [] if arguments.ranges else [f"good: {store.size} bytes"] if report.is_good and not surplus else []
    if arguments.ranges:
        lines = _range_lines(report, store.size, checked)
    outcome.tell(store.size, lines)
    _complain_about(arguments, bad, store.size, report)
    if surplus:
        complain(PROG, f"{printable_name(arguments)}{surplus} bytes more than the {store.size} that are proven")
    return EXIT_OK if report.is_good and not surplus else EXIT_FAILED


def _byte_range(first: int, end: int | None, size: int) -> list[int]:
    return [first * CHUNK_BYTES, size if end is None else min(end * CHUNK_BYTES, size)]


def _damage_fields(bad: BadRange, size: int) -> dict[str, Any]:
    start, end = _byte_range(bad.first, bad.end, size)
    return {"range": [start, end]} | _fields_of(bad.damage)


def _fields_of(damage: Damage) -> dict[str, Any]:
    return {
        "kind": damage.kind, "item": damage.item, "start": damage.start, "length": damage.length,
        "number": damage.number, "text": str(damage),
    }  # fmt: skip


def _range_lines(report: Report, size: int, checked: int) -> list[str]:
    """Good and bad ranges of bytes, in order of content."""
    rows = [(*_byte_range(*r, size), "good") for r in report.good.ranges() if r[0] * CHUNK_BYTES < checked or not size]
    rows += [(*_byte_range(bad.first, bad.end, size), f"bad   {bad.damage}") for bad in report.bad]
    return [f"{start}-{end} {text}" for start, end, text in sorted(rows)]


def _complain_about(arguments: argparse.Namespace, bad: list[BadRange], size: int, report: Report) -> None:
    name = printable_name(arguments)
    for damaged in bad[:_RANGES_SHOWN]:
        start, end = _byte_range(damaged.first, damaged.end, size)
        complain(PROG, f"{name}bytes {start} to {end} are not proven: {damaged.damage}")
    if len(bad) > _RANGES_SHOWN:
        complain(PROG, f"{name}{len(bad) - _RANGES_SHOWN} more damaged ranges; list them with --ranges")
    if report.is_full:
        complain(PROG, f"{name}too much damage to list: the check stopped there")


# --- slice, decode ----------------------------------------------------------------------------------------------------


def _slice(arguments: argparse.Namespace) -> int:
    engine = _engine(arguments)
    outcome = _Outcome(arguments, engine.name)
    selection, _ = _selection(arguments)
    written = 0
    with ExitStack() as stack:
        content = stack.enter_context(FileBytes(arguments.file))
        store: Store
        if arguments.outboard is None:
            store = CombinedStore(content.read_at, arguments.chunk_log)
        else:
            store = _stored(arguments, content, stack.enter_context(FileBytes(arguments.outboard)))
        target = stack.enter_context(_output(arguments.out))
        for piece in extract(store, arguments.root, selection, chunk_log=arguments.slice_log, engine=engine):
            target.write(piece)
            written += len(piece)
    outcome.fields |= {"out": arguments.out, "written_bytes": written}
    lines = [f"{written} bytes written to {arguments.out}"] if arguments.out != STREAM else []
    outcome.tell(written, lines, output_is_taken=arguments.out == STREAM)
    return EXIT_OK


def _decode(arguments: argparse.Namespace) -> int:
    engine = _engine(arguments)
    outcome = _Outcome(arguments, engine.name)
    selection, window = _selection(arguments)
    decoder = Decoder(arguments.root, chunk_log=arguments.chunk_log, selection=selection, window=window, engine=engine)
    written, damage = 0, None
    with ExitStack() as stack:
        if arguments.file == STREAM:
            source: BinaryIO = sys.stdin.buffer
        else:
            source = stack.enter_context(Path(arguments.file).open("rb", buffering=0))
            if (
                arguments.out != STREAM
                and Path(arguments.out).exists()
                and Path(arguments.out).samefile(arguments.file)
            ):
                raise WrongArgument("the output would replace the encoding")
        # What is proven is written at once, and stays: a reader of our output shall not wait for the end.
        target = stack.enter_context(_output(arguments.out, keep_part=True))
        advance = stack.enter_context(progress("decoding", None, not arguments.quiet))
        try:
            for piece in stream_as_it_comes(source, _PIECE_BYTES):
                for proven in decoder.feed(piece):
                    if isinstance(proven, Proven):
                        target.write(proven.data)
                        written += len(proven.data)
                advance(len(piece))
                if decoder.done:
                    break
            decoder.finish()
        except VerificationFailed as error:
            damage = error.damage
        target.flush()
    outcome.fields |= {"out": arguments.out, "good": damage is None, "size": decoder.size}
    if damage is not None:
        outcome.fields["damage"] = [_fields_of(damage)]
        complain(PROG, f"{printable_name(arguments)}{damage}; {written} bytes before it are proven")
    lines = [f"{written} bytes written to {arguments.out}"] if arguments.out != STREAM and damage is None else []
    outcome.tell(written, lines, output_is_taken=arguments.out == STREAM)
    return EXIT_OK if damage is None else EXIT_FAILED


def _selection(arguments: argparse.Namespace) -> tuple[ChunkRanges, tuple[int, int] | None]:
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


# --- repair -----------------------------------------------------------------------------------------------------------


def _repair(arguments: argparse.Namespace) -> int:
    engine = _engine(arguments)
    outcome = _Outcome(arguments, engine.name)
    change = not arguments.plan
    with ExitStack() as stack:
        content = stack.enter_context(FileBytes(arguments.file, writable=change))
        outboard = stack.enter_context(FileBytes(arguments.outboard, writable=change))
        store = _stored(arguments, content, outboard)
        check = Check(store, arguments.root, engine)
        planner = Planner(check)
        with progress("verifying", store.size, not arguments.quiet) as advance:
            for finding in findings(check, _threads(arguments), advance):
                planner.add(finding)
        plan = planner.plan
        selection = plan.selection(check)
        outcome.fields |= {"chunks": chunks_text(selection), "fetch_bytes": plan.fetch_bytes(check)}
        if arguments.plan:
            pairs = sum(len(block.pairs) // 64 for block in plan.pairs)
            outcome.fields |= {"pairs": pairs, "good": not plan.missing and not pairs}
            outcome.tell(store.size, [chunks_text(selection)] if selection else [])
            return EXIT_FAILED if plan.missing or pairs else EXIT_OK
        repair = Repair(check, store, content, outboard, plan)
        repair.write_pairs()
        if plan.missing and arguments.copy is not None:
            repair.take_from_copy(stack.enter_context(FileBytes(arguments.copy)))
        elif plan.missing and arguments.from_slice is not None:
            source: BinaryIO = sys.stdin.buffer
            if arguments.from_slice != STREAM:
                source = stack.enter_context(Path(arguments.from_slice).open("rb", buffering=0))
            try:
                repair.take_from_encoding(stream_as_it_comes(source, _PIECE_BYTES))
            except VerificationFailed as error:
                complain(PROG, f"{printable(arguments.from_slice)}: {error}")
        done = repair.done
        if not done.missing and content.size > store.size and arguments.size is not None:
            content.resize(store.size)  # everything is proven, and so is the size
        repair.sync()
        missing = ChunkRanges.of(
            (check.span(s)[0] // CHUNK_BYTES, -(-sum(check.span(s)) // CHUNK_BYTES)) for s in done.missing
        )
    outcome.fields |= {
        "good": not done.missing,
        "pairs": done.pairs,
        "content_bytes": done.content_bytes,
        "fetched_bytes": done.fetched_bytes,
        "missing_chunks": chunks_text(missing),
    }
    summary = f"{done.pairs} pairs and {done.content_bytes} bytes written, {done.fetched_bytes} bytes fetched"
    outcome.tell(
        store.size, [summary if done.pairs or done.content_bytes else "nothing to repair"] if not done.missing else []
    )
    if done.missing:
        complain(PROG, f"{printable_name(arguments)}still damaged: chunks {chunks_text(missing)} ({summary}); "
                       "give another copy with --from, or a slice of these chunks with --from-slice")  # fmt: skip
        return EXIT_FAILED
    return EXIT_OK


def chunks_text(selection: ChunkRanges) -> str:
    """A selection as `--chunks` takes it: ends are included."""
    parts = []
    for start, end in selection.ranges():
        if end is None:
            parts.append(f"{start}-")
        else:
            parts.append(str(start) if end == start + 1 else f"{start}-{end - 1}")
    return ",".join(parts)


# --- files ------------------------------------------------------------------------------------------------------------


def _engine(arguments: argparse.Namespace) -> Engine:
    return best_engine() if arguments.engine == "auto" else engine_named(arguments.engine)


def _threads(arguments: argparse.Namespace) -> int:
    return int(arguments.threads or THREADS_DEFAULT)


def _stored(arguments: argparse.Namespace, content: FileBytes, outboard: FileBytes) -> OutboardStore:
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
            raise VerificationFailed(Damage("truncated", "header"))
        size = int.from_bytes(header, "little") if arguments.size is None else size
    front = HEADER_BYTES if arguments.with_size else 0
    expected = pairs_bytes(size, arguments.chunk_log) + front
    if has != expected:
        fitting = [log for log in range(CHUNK_LOG_MAX + 1) if pairs_bytes(size, log) + front == has]
        if fitting and arguments.chunk_log not in fitting:
            raise WrongArgument(
                f"{printable(str(arguments.outboard))} has {has} bytes, and for chunk log {arguments.chunk_log} it should "
                f"have {expected}: say --chunk-log {fitting[0]}"
            )
    return OutboardStore(content.read_at, outboard.read_at, size, arguments.chunk_log, order, pairs_at)


def _pwrite(descriptor: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _output(name: str, keep_part: bool = False) -> Iterator[BinaryIO]:
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


_ACTIONS = {
    "encode": _encode, "hash": _hash, "verify": _verify, "slice": _slice, "decode": _decode, "repair": _repair,
}  # fmt: skip
