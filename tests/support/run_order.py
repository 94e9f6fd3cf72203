"""Which test files begin first, and how the workers of pytest-xdist share the work of reading them.

It refuses to know what the tests do; figures are CPU seconds of one run on two cores.
"""

import importlib
import os
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SLOW_FIRST = (
    "integration/test_end_to_end.py",
    "integration",
    "commands/test_operator.py",
    "commands/test_run.py",
    "commands/test_twin_chain.py",
    "faults",
    "benchmarks",
    "registry/tfchain",
    "relay/test_process.py",
    "remaphore",
    "commands",
    "simulation",
    "relay",
    "sdk",
)
"""Files and folders whose tests start real processes or compute long, roughly by what they cost. A worker takes a whole
file at a time (`--dist loadfile`), so what takes 20 s must not be what the last worker finds at the end."""


def rank(path: Path) -> int:
    """The place of a test file: the smaller, the earlier."""
    name = path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else path.name
    found = (place for place, prefix in enumerate(SLOW_FIRST) if name == prefix or name.startswith(f"{prefix}/"))
    return next(found, len(SLOW_FIRST))


def read_a_share(files: list[Path]) -> None:
    """Import every n-th test file before the collection does, so that n workers rewrite each file's assertions once.

    Each worker collects all tests. Rewriting takes it 8 s when nothing is kept from an earlier run, and the workers
    would do that side by side, in the same order. What cannot be imported yet, because the markers of its folder are
    not known, is imported by the collection; its rewritten form is kept by then.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for path in files[int(worker) % count :: count]:
        module = ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
        with suppress(ImportError, SyntaxError, pytest.skip.Exception, pytest.fail.Exception):
            importlib.import_module(module)
