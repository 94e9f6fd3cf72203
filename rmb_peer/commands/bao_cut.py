"""`rmb-peer bao slice` and `decode`: parts that can be verified by themselves, cut out and taken in."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from rmb_peer.bao_files.progress import progress
from rmb_peer.bao_files.reading import FileBytes, stream_as_it_comes
from rmb_peer.commands.bao_common import (
    PIECE_BYTES,
    PROG,
    STREAM,
    Outcome,
    damage_fields,
    engine_of,
    open_store,
    output,
    selection_of,
    source_name,
)
from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain
from rmb_peer.protocol.bao import CombinedStore, Decoder, Proven, Store, VerificationFailed, WrongArgument, extract


def cut(arguments: argparse.Namespace) -> int:
    """Carry out the action; the answer is the exit code."""
    engine = engine_of(arguments)
    outcome = Outcome(arguments, engine.name)
    selection, _ = selection_of(arguments)
    written = 0
    with ExitStack() as stack:
        content = stack.enter_context(FileBytes(arguments.file))
        store: Store
        if arguments.outboard is None:
            store = CombinedStore(content.read_at, arguments.chunk_log)
        else:
            store = open_store(arguments, content, stack.enter_context(FileBytes(arguments.outboard)))
        target = stack.enter_context(output(arguments.out))
        for piece in extract(store, arguments.root, selection, chunk_log=arguments.slice_log, engine=engine):
            target.write(piece)
            written += len(piece)
    outcome.fields |= {"out": arguments.out, "written_bytes": written}
    lines = [f"{written} bytes written to {arguments.out}"] if arguments.out != STREAM else []
    outcome.tell(written, lines, output_is_taken=arguments.out == STREAM)
    return EXIT_OK


def decode(arguments: argparse.Namespace) -> int:
    """Carry out the action; the answer is the exit code."""
    engine = engine_of(arguments)
    outcome = Outcome(arguments, engine.name)
    selection, window = selection_of(arguments)
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
        target = stack.enter_context(output(arguments.out, keep_part=True))
        advance = stack.enter_context(progress("decoding", None, not arguments.quiet))
        try:
            for piece in stream_as_it_comes(source, PIECE_BYTES):
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
        outcome.fields["damage"] = [damage_fields(damage)]
        complain(PROG, f"{source_name(arguments)}{damage}; {written} bytes before it are proven")
    lines = [f"{written} bytes written to {arguments.out}"] if arguments.out != STREAM and damage is None else []
    outcome.tell(written, lines, output_is_taken=arguments.out == STREAM)
    return EXIT_OK if damage is None else EXIT_FAILED
