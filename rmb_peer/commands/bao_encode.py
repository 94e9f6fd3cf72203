"""`rmb-peer bao encode` and `hash`: content in, root hash and outboard out."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from rmb_peer.bao_files.encoding import CollectedPairs, PlacedPairs, encode_file, encode_pieces, outboard_buffer
from rmb_peer.bao_files.progress import progress
from rmb_peer.bao_files.reading import FileBytes, stream_pieces
from rmb_peer.commands.bao_common import PIECE_BYTES, PROG, STREAM, Outcome, engine_of, output, pwrite, threads_of
from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain
from rmb_peer.commands.payload_text import printable
from rmb_peer.protocol.bao import OutboardStore, PairBlock, WrongArgument, bytes_reader, extract
from rmb_peer.protocol.bao.engines import Engine
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES
from rmb_peer.protocol.bao.geometry import CHUNK_LOG_MAX, HEADER_BYTES, pairs_bytes


def encode(arguments: argparse.Namespace) -> int:
    """Carry out the action; the answer is the exit code."""
    engine = engine_of(arguments)
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
    outcome = Outcome(arguments, engine.name)
    with ExitStack() as stack:
        if source == STREAM:
            root, size, written = _encode_stream(arguments, engine, stack.enter_context(output(out)))
        else:
            file = stack.enter_context(FileBytes(Path(source)))
            if out != STREAM and Path(out).exists() and Path(out).samefile(source):
                raise WrongArgument("the output would replace the content")
            target = stack.enter_context(output(out))
            root, size, written = _encode_one(arguments, engine, file, target)
    outcome.fields |= {"root": root.hex(), "chunk_log": arguments.chunk_log, "written_bytes": written, "out": out}
    outcome.tell(size, [root.hex()], output_is_taken=out == STREAM)
    return EXIT_OK


def _encode_stream(arguments: argparse.Namespace, engine: Engine, target: BinaryIO) -> tuple[bytes, int, int]:
    sink = CollectedPairs()
    pieces = stream_pieces(sys.stdin.buffer, engine.levels_chunks_max * CHUNK_BYTES)
    with progress("encoding", None, not arguments.quiet) as advance:
        end = encode_pieces(pieces, arguments.chunk_log, sink, engine, threads_of(arguments), advance)
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
        sink = PlacedPairs(size, chunk_log, arguments.order, lambda at, pairs: pwrite(descriptor, front + at, pairs))
        with progress("encoding", size, not arguments.quiet) as advance:
            end = encode_file(file, size, chunk_log, sink, engine, threads_of(arguments), advance)
        if arguments.with_size:
            place = 0 if front else pairs_bytes(size, chunk_log)
            pwrite(descriptor, place, size.to_bytes(HEADER_BYTES, "little"))
        return end.root, size, pairs_bytes(size, chunk_log) + (HEADER_BYTES if arguments.with_size else 0)
    buffer, sink = outboard_buffer(size, chunk_log, arguments.order)
    with progress("encoding", size, not arguments.quiet) as advance:
        end = encode_file(file, size, chunk_log, sink, engine, threads_of(arguments), advance)
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


def hash_files(arguments: argparse.Namespace) -> int:
    """Carry out the action; the answer is the exit code."""
    outcome = Outcome(arguments, "blake3" if _blake3_is_wanted(arguments) else engine_of(arguments).name)
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
    """Whether the blake3 package does it: for the hash alone it is four times as fast as our default engine."""
    if arguments.engine != "auto":
        return False
    try:
        import blake3  # noqa: F401
    except ImportError:
        return False
    return True


class _NoPairs:
    """Forgets pairs."""

    def put(self, block: PairBlock) -> None:
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
            engine = engine_of(arguments)
            pieces = stream_pieces(stream, engine.levels_chunks_max * CHUNK_BYTES)
            end = encode_pieces(pieces, CHUNK_LOG_MAX, _NoPairs(), engine, threads_of(arguments), advance)
            return end.root.hex(), end.size
        from blake3 import blake3

        hasher, size = blake3(max_threads=threads_of(arguments)), 0
        for piece in stream_pieces(stream, PIECE_BYTES):
            hasher.update(piece)
            size += len(piece)
            advance(len(piece))
        return hasher.hexdigest(), size
