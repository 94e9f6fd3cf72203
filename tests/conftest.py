"""Settings of Hypothesis, and how many tests run side by side; README.md here says how a failure is replayed."""

import gc
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from tests.support.lean_processes import keep_bytecode, trust_nobody
from tests.support.run_order import TESTS, rank, read_a_share
from tests.support.services import valkey

keep_bytecode()
trust_nobody()

# No deadline and no complaint about slow data: a loaded machine must not turn a slow example into a failure. The blob
# that a failure prints replays exactly that example.
settings.register_profile("rmb", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rmb")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: two workers more than cores, because many tests wait for processes of their own."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """A run of everything by several workers shares the work of reading the files."""
    everything = [Path(word).resolve() for word in session.config.args] == [TESTS]
    if everything and "PYTEST_XDIST_WORKER" in os.environ:
        read_a_share(sorted(TESTS.rglob("test_*.py")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files begin first; all else stays in its order."""
    items.sort(key=lambda item: rank(item.path))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of collected tests live to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _levels_of_logs() -> Iterator[None]:
    """A command that is run within a test says how log lines are shown; the next test finds that as it was."""
    root, ours = logging.getLogger(), logging.getLogger("rmb")
    levels = root.level, ours.level
    yield
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:  # those of pytest are subclasses
            root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store_of_worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a Valkey for all tests of this worker that need a store and neither stop nor configure it.

    One test after another empties it (`tests.support.services.emptied`).
    """
    async with valkey(tmp_path_factory.mktemp("store"), port=0) as (server, _):
        yield server.url
