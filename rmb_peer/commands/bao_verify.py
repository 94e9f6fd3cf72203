"""`rmb-peer bao verify`: what of a file is proven, and what is not."""

import argparse
from typing import Any

from rmb_peer.bao_files.checking import findings
from rmb_peer.bao_files.progress import progress
from rmb_peer.bao_files.reading import FileBytes
from rmb_peer.commands.bao_common import PROG, Outcome, damage_fields, engine_of, open_store, source_name, threads_of
from rmb_peer.commands.common import EXIT_FAILED, EXIT_OK, complain
from rmb_peer.protocol.bao import BadRange, Check, Report
from rmb_peer.protocol.bao.engines.constants import CHUNK_BYTES

_RANGES_SHOWN = 20
"""Damaged ranges that are told on standard error without `--ranges`; the rest is counted."""


def verify(arguments: argparse.Namespace) -> int:
    """Carry out the action; the answer is the exit code."""
    engine = engine_of(arguments)
    outcome = Outcome(arguments, engine.name)
    with FileBytes(arguments.file) as content, FileBytes(arguments.outboard) as outboard:
        store = open_store(arguments, content, outboard)
        check = Check(store, arguments.root, engine)
        report = Report(check)
        checked = 0
        with progress("verifying", store.size, not arguments.quiet) as advance:
            for finding in findings(check, threads_of(arguments), advance):
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
        complain(PROG, f"{source_name(arguments)}{surplus} bytes more than the {store.size} that are proven")
    return EXIT_OK if report.is_good and not surplus else EXIT_FAILED


def _byte_range(first: int, end: int | None, size: int) -> list[int]:
    return [first * CHUNK_BYTES, size if end is None else min(end * CHUNK_BYTES, size)]


def _damage_fields(bad: BadRange, size: int) -> dict[str, Any]:
    start, end = _byte_range(bad.first, bad.end, size)
    return {"range": [start, end]} | damage_fields(bad.damage)


def _range_lines(report: Report, size: int, checked: int) -> list[str]:
    """Good and bad ranges of bytes, in order of content."""
    rows = [(*_byte_range(*r, size), "good") for r in report.good.ranges() if r[0] * CHUNK_BYTES < checked or not size]
    rows += [(*_byte_range(bad.first, bad.end, size), f"bad   {bad.damage}") for bad in report.bad]
    return [f"{start}-{end} {text}" for start, end, text in sorted(rows)]


def _complain_about(arguments: argparse.Namespace, bad: list[BadRange], size: int, report: Report) -> None:
    name = source_name(arguments)
    for damaged in bad[:_RANGES_SHOWN]:
        start, end = _byte_range(damaged.first, damaged.end, size)
        complain(PROG, f"{name}bytes {start} to {end} are not proven: {damaged.damage}")
    if len(bad) > _RANGES_SHOWN:
        complain(PROG, f"{name}{len(bad) - _RANGES_SHOWN} more damaged ranges; list them with --ranges")
    if report.is_full:
        complain(PROG, f"{name}too much damage to list: the check stopped there")
