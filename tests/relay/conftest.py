"""A relay that the tests of one module share; each test finds it empty."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.relay import Directory, TestBed, empty, relay, until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestBed]:
    """One relay for all tests of a module. However slow this machine is, nothing is stored because of the time."""
    async with relay(tmp_path_factory.mktemp("relay"), Directory(), direct_s_max=600.0) as bed:
        yield bed


@pytest_asyncio.fixture(loop_scope="module")
async def bed(shared_bed: TestBed) -> TestBed:
    """The shared relay, with twins 7 and 9 and empty mailboxes."""
    metrics = shared_bed.app.metrics
    await until(lambda: metrics.signins == metrics.evictions.total())  # what a client sent last is dealt with, too
    await shared_bed.app.mailboxes.idle()
    shared_bed.directory.reset(7, 9)
    await empty(shared_bed.store)
    return shared_bed
