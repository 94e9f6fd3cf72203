"""`rmb-peer bao repair`: heal an outboard by itself, and content from elsewhere."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from rmb_peer.bao_files.checking import findings
from rmb_peer.bao_files.progress import progress
from rmb_peer.bao_files.reading import FileBytes, stream_as_it_comes
from rmb_peer.bao_files.repairing import Repair
from rmb_peer.commands.bao_common import (
    PIECE_BYTES,
    PROG,
    STREAM,
    Outcome,
    chunks_text,
    engine_of,
    open_store,
    source_name,
    threads_of,
)
from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain
from rmb_peer.commands.payload_text import printable
from rmb_peer.protocol.bao import Check, ChunkRanges, Planner, VerificationFailed
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES, PAIR_BYTES


def repair(arguments: argparse.Namespace) -> int:
    """Carry out the action; the answer is the exit code."""
    engine = engine_of(arguments)
    outcome = Outcome(arguments, engine.name)
    change = not arguments.plan
    with ExitStack() as stack:
        content = stack.enter_context(FileBytes(arguments.file, writable=change))
        outboard = stack.enter_context(FileBytes(arguments.outboard, writable=change))
        store = open_store(arguments, content, outboard)
        check = Check(store, arguments.root, engine)
        planner = Planner(check)
        with progress("verifying", store.size, not arguments.quiet) as advance:
            for finding in findings(check, threads_of(arguments), advance):
                planner.add(finding)
        plan = planner.plan
        selection = plan.selection(check)
        outcome.fields |= {"chunks": chunks_text(selection), "fetch_bytes": plan.fetch_bytes(check)}
        if arguments.plan:
            pairs = sum(len(block.pairs) // PAIR_BYTES for block in plan.pairs)
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
                repair.take_from_encoding(stream_as_it_comes(source, PIECE_BYTES))
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
        complain(PROG, f"{source_name(arguments)}still damaged: chunks {chunks_text(missing)} ({summary}); "
                       "give another copy with --from, or a slice of these chunks with --from-slice")  # fmt: skip
        return EXIT_FAILED
    return EXIT_OK
