"""Fixtures for a network of real processes that all tests of a file share, since starting one takes seconds.

shared = shared_network(ED25519, ED25519)
net = tidy_network()
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.programs import Network, network


def shared_network(*flags: tuple[str, ...], protocols: tuple[str, ...] = ("rmb.2",)) -> Any:
    """The fixture that a file has to name `shared`: a relay, and a gateway for each of `flags` (see `network`)."""

    @pytest_asyncio.fixture(scope="module", loop_scope="module")
    async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
        async with network(tmp_path_factory.mktemp("network"), *flags, protocols=protocols) as made:
            yield made

    return shared


def tidy_network() -> Any:
    """The fixture of one test: the shared network, tidy afterwards (`Network.tidy`)."""

    @pytest_asyncio.fixture(loop_scope="module")
    async def net(shared: Network) -> AsyncIterator[Network]:
        yield shared
        await shared.tidy()

    return net
