"""Opens the registry that tells the relay who is twin N: the one it hosts, a file, another host's, or a chain.

It refuses to know who asks. What it opens is closed by the stack it is given.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack

from aiohttp import web

from relay.config import REGISTRY_HOSTED, REGISTRY_NONE, RelayConfig
from relay.lookup import NoTwins
from relay.metrics import Metrics
from relay.registry_api import add_registry_routes
from relay.registry_store import RegistryStore
from relay.store import Store
from relay.tasks import end as end_tasks
from rmb_peer.logs import event, get_logger
from rmb_peer.registry.base import Registry
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.lookup import TwinLookup
from rmb_peer.registry.urls import REGISTRY_PATH

_LOG = get_logger("relay")


def offered_registry(config: RelayConfig) -> str | None:
    """Where clients find the registry that this relay uses: a path here, a URL, or nothing they could reach.

    A chain is not offered: nobody should pay fees on a chain because a relay said so.
    """
    if _chain_nodes(config):
        return None
    if config.registry == REGISTRY_HOSTED:
        return REGISTRY_PATH
    return config.registry if config.registry.startswith(("http://", "https://")) else None


async def open_lookup(
    stack: AsyncExitStack,
    tasks: asyncio.TaskGroup,
    config: RelayConfig,
    *,
    app: web.Application,
    domains: Collection[str],
    metrics: Metrics,
    connect: Callable[[], Store],
) -> TwinLookup:
    """Open what the configuration names.

    Args:
        stack: closes it.
        tasks: owns what follows its changes.
        config: names the registry.
        app: gets the routes of a registry that is hosted here.
        domains: names under which clients may address a registry that is hosted here.
        metrics: hears how much is remembered.
        connect: opens a client of the store, for a registry that is hosted here.

    Returns:
        who answers, remembering what it was told; or a registry without twins.
    """
    if nodes := _chain_nodes(config):
        return _open_chain(stack, nodes, config.catchup_blocks_max, metrics)
    if config.registry == REGISTRY_NONE:
        event(_LOG, logging.WARNING, "no registry: no twin is known, so nobody can sign in")
        return NoTwins()
    registry: Registry
    if config.registry == REGISTRY_HOSTED:
        registry = store = RegistryStore(connect())
        add_registry_routes(app, store, audience_names=domains)
    else:
        from rmb_peer.registry.opening import open_registry

        registry = open_registry(config.registry)
    cached = _open_cache(stack, registry, metrics)
    follower = tasks.create_task(cached.follow())
    stack.push_async_callback(end_tasks, [follower])
    return cached


def _chain_nodes(config: RelayConfig) -> tuple[str, ...]:
    """Nodes of the chain that is the registry; none when it is another one."""
    return config.substrate or ((config.registry,) if config.registry.startswith(("ws://", "wss://")) else ())


def _open_chain(stack: AsyncExitStack, nodes: tuple[str, ...], catchup_blocks_max: int, metrics: Metrics) -> TwinLookup:
    from relay.chain_feed import ChainFeed
    from rmb_peer.registry.opening import open_tfchain
    from rmb_peer.registry.tfchain.follower import ChainFollower
    from rmb_peer.registry.tfchain.following import Following
    from rmb_peer.registry.tfchain.reading import ChainCheck

    cached = _open_cache(stack, open_tfchain(*nodes), metrics)
    follower = ChainFollower(
        nodes,
        ChainFeed(cached, metrics),
        following=Following(catchup_blocks_max=catchup_blocks_max, clock=time.monotonic),
        check=ChainCheck(),
    )
    follower.start()
    stack.push_async_callback(follower.stop)
    return cached


def _open_cache(stack: AsyncExitStack, registry: Registry, metrics: Metrics) -> CachedRegistry:
    cached = CachedRegistry(registry)
    metrics.cache_entries = lambda: len(cached)
    stack.push_async_callback(cached.close)
    return cached
