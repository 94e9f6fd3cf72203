"""Builds the relay, runs it, stops it in order. The only file here that names concrete classes.

Everything is entered onto one exit stack, so the order of stopping is the order of starting, backwards: no new
connections; sessions confirm what was read, and are closed; requests end; then the registry, the mailboxes, the store.
One `TaskGroup` owns the tasks that live as long as the relay; each connection owns its own.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from aiohttp import web

from relay.config import REGISTRY_HOSTED, REGISTRY_NONE, RelayConfig, default_domains
from relay.delivery import Delivery
from relay.exchange import Exchange
from relay.horizon import Horizon
from relay.limits import WINDOW_S, RateLimiter
from relay.listening import address_of, listen, local_address_of, raise_open_files
from relay.lookup import NoTwins
from relay.mailboxes import MailboxFailed
from relay.metrics import Metrics
from relay.redis_mailboxes import RedisMailboxes
from relay.redis_presence import RedisPresence
from relay.registry_api import add_registry_routes
from relay.registry_store import RegistryStore
from relay.server import Server
from relay.sessions import Sessions
from relay.store import STORE_ERRORS, Store, connect, connect_for_news, detect_cluster
from relay.tasks import end as end_tasks
from rmb_peer import __version__
from rmb_peer.embedded.valkey import EmbeddedServerFailed, EmbeddedValkey
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import LocalError
from rmb_peer.protocol.link.endings import SUBPROTOCOL
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.registry.base import Registry
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.lookup import TwinLookup
from rmb_peer.registry.urls import REGISTRY_PATH

PROTOCOLS = ("rmb.1", SUBPROTOCOL)
"""What clients may speak: one envelope per binary message, or the acknowledged link."""

STORE_TIMEOUT_S = 20.0
"""A store that takes longer for one answer is treated as gone. A guess: a busy disk holds up an append-only file for
seconds, and half of what a link waits for an answer (spec rmb 5.7) is left for telling the sender."""

DRAIN_S_MAX = 8.0
"""How long stopping waits for sessions: a last pong, a closing handshake, look-ups. A guess."""

REQUESTS_S_MAX = 2.0
"""How long stopping waits for requests that are being answered; a guess."""

KEEPALIVE_S = 75.0
"""How long a connection may be without a request, as common web servers have it; other relays allow 600 (spec rmb 6.1)
and thus whoever opens connections and says nothing."""

_LOG = get_logger("relay")


class StartFailed(LocalError):
    """The relay cannot start; the text says what to change."""


class RelayApp:
    """One relay: `async with RelayApp(config) as relay: ...`.

    Attributes:
        address: `host:port` that it listens on.
        url: where a client on this machine connects, `ws://host:port`.
        metrics: its counters.
        process: its name among all that share the store.
        mailboxes: its store, once it has started.
        presence: where the sessions of all processes are, once it has started.
    """

    def __init__(
        self,
        config: RelayConfig,
        *,
        lookup: TwinLookup | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing happens before it is entered.

        Args:
            config: what the operator decided.
            lookup: answers who is twin N, instead of what `config.registry` says.
            now_s: tells Unix seconds.
        """
        self._config = config
        self._lookup = lookup
        self._now_s = now_s
        self._stack = AsyncExitStack()
        self.address = ""
        self.url = ""
        self.metrics = Metrics()
        self.process = secrets.token_hex(8)
        self._server: Server
        self.mailboxes: RedisMailboxes
        self.presence: RedisPresence

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            StartFailed: it cannot.
        """
        try:
            await self._start(self._stack)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        """Stop, in order."""
        await self._stack.aclose()  # without the exception: the task group would wrap it

    async def _start(self, stack: AsyncExitStack) -> None:
        config = self._config
        raise_open_files()
        listener = self._listen()
        stack.callback(listener.close)
        port = listener.getsockname()[1]
        domains = frozenset(normalize_relay(name) for name in config.domains) or default_domains(port)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        store_url = next(iter(config.redis_cluster), config.redis_url) or await self._start_store(stack, tasks)
        self._cluster = bool(config.redis_cluster) or await detect_cluster(store_url, STORE_TIMEOUT_S)
        self.mailboxes = mailboxes = await self._open_mailboxes(stack, tasks, store_url)
        app = web.Application(client_max_size=config.message_bytes_max)
        lookup = self._lookup or await self._open_lookup(stack, tasks, store_url, app, domains)
        sessions = Sessions(config.sessions_max)
        self.metrics.sessions = lambda: len(sessions)
        horizon = Horizon()
        self.presence = await self._open_presence(stack, tasks, store_url, sessions, horizon)
        limit = config.rate_limit
        exchange = Exchange(
            delivery=Delivery(mailboxes, sessions, self.metrics),
            lookup=lookup,
            domains=domains,
            limiter=RateLimiter(limit.frames, limit.bytes, 2 * config.sessions_max) if limit else None,
            metrics=self.metrics,
            now_s=self._now_s,
            presence=self.presence,
            horizon=horizon,
        )
        self._server = server = Server(
            exchange,
            sessions,
            mailboxes,
            rhythm=config.rhythm,
            message_bytes_max=config.message_bytes_max,
            direct_s_max=config.direct_s_max,
            well_known=self._well_known(domains),
        )
        server.add_to(app)
        await self._serve(stack, app, server, listener)
        self.address = address_of(listener)
        self.url = f"ws://{local_address_of(listener)}"
        event(_LOG, logging.INFO, "listening", address=self.address, domains=sorted(domains))

    def scrape_with(self, scrape: Callable[[], Awaitable[bytes]]) -> None:
        """Answer scrapes with this, instead of the metrics of this process alone."""
        self._server.scrape = scrape

    def _listen(self) -> socket.socket:
        host, port = self._config.listen_host, self._config.listen_port
        try:
            return listen(host, port, shared=self._config.shared_port)
        except OSError as error:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            reason = str(error.strerror).partition(" (while")[0]  # create_server repeats the address there
            raise StartFailed(f"cannot listen on {shown}: {reason}") from None

    async def _start_store(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> str:
        try:
            valkey = await EmbeddedValkey.start(self._config.data_folder)
        except (EmbeddedServerFailed, OSError) as error:
            raise StartFailed(f"cannot start the embedded store: {error}") from None
        stack.push_async_callback(valkey.stop)
        tasks.create_task(valkey.keep_running())
        return valkey.url

    async def _open_mailboxes(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup, url: str) -> RedisMailboxes:
        client = self._connect(stack, url, once=True)
        mailboxes = RedisMailboxes(
            client,
            process=self.process,
            on_poison=self._count_poison,
            append_s_max=self._config.store_patience_s,
        )
        try:
            await mailboxes.ping()
        except MailboxFailed as error:
            raise StartFailed(f"cannot use the store given by --redis: {error.__cause__ or error}") from None
        stack.push_async_callback(mailboxes.close)
        tasks.create_task(mailboxes.run())
        return mailboxes

    async def _open_presence(
        self, stack: AsyncExitStack, tasks: asyncio.TaskGroup, url: str, sessions: Sessions, horizon: Horizon
    ) -> RedisPresence:
        store = self._connect(stack, url)
        presence = RedisPresence(
            store,
            lambda: connect_for_news(store, self._config.redis_cluster or (url,)),
            sessions,
            horizon,
            process=self.process,
            timing=self._config.presence,
        )
        try:
            await presence.start()
        except STORE_ERRORS as error:
            raise StartFailed(f"cannot use the store given by --redis: {error}") from None
        stack.push_async_callback(presence.close)
        tasks.create_task(presence.run())
        return presence

    def _connect(self, stack: AsyncExitStack, url: str, *, once: bool = False) -> Store:
        urls = self._config.redis_cluster or (url,)
        try:
            client = connect(urls, cluster=self._cluster, timeout_s=STORE_TIMEOUT_S, once=once)
        except ValueError as error:
            raise StartFailed(f"--redis is no URL of a store: {error}") from None
        stack.push_async_callback(client.aclose)
        return client

    def _count_poison(self, count: int) -> None:
        self.metrics.poison += count

    async def _open_lookup(
        self,
        stack: AsyncExitStack,
        tasks: asyncio.TaskGroup,
        store_url: str,
        app: web.Application,
        domains: frozenset[str],
    ) -> TwinLookup:
        registry: Registry
        if self._chain_nodes:
            return await self._open_chain(stack)
        if self._config.registry == REGISTRY_NONE:
            event(_LOG, logging.WARNING, "no registry: no twin is known, so nobody can sign in")
            return NoTwins()
        if self._config.registry == REGISTRY_HOSTED:
            registry = store = RegistryStore(self._connect(stack, store_url))
            add_registry_routes(app, store, audience_names=domains)
        else:
            from rmb_peer.registry.opening import open_registry

            registry = open_registry(self._config.registry)
        cached = self._open_cache(stack, registry)
        follower = tasks.create_task(cached.follow())
        stack.push_async_callback(end_tasks, [follower])
        return cached

    @property
    def _chain_nodes(self) -> tuple[str, ...]:
        """Nodes of the chain that is the registry; none when it is another one."""
        registry = self._config.registry
        return self._config.substrate or ((registry,) if registry.startswith(("ws://", "wss://")) else ())

    async def _open_chain(self, stack: AsyncExitStack) -> TwinLookup:
        from relay.chain_feed import ChainFeed
        from rmb_peer.registry.opening import open_tfchain
        from rmb_peer.registry.tfchain.follower import ChainFollower
        from rmb_peer.registry.tfchain.following import Following
        from rmb_peer.registry.tfchain.reading import ChainCheck

        nodes = self._chain_nodes
        cached = self._open_cache(stack, open_tfchain(*nodes))
        follower = ChainFollower(
            nodes,
            ChainFeed(cached, self.metrics),
            following=Following(catchup_blocks_max=self._config.catchup_blocks_max, clock=time.monotonic),
            check=ChainCheck(),
        )
        follower.start()
        stack.push_async_callback(follower.stop)
        return cached

    def _open_cache(self, stack: AsyncExitStack, registry: Registry) -> CachedRegistry:
        cached = CachedRegistry(registry)
        self.metrics.cache_entries = lambda: len(cached)
        stack.push_async_callback(cached.close)
        return cached

    def _well_known(self, domains: frozenset[str]) -> dict[str, Any]:
        limit = self._config.rate_limit
        rate = None if limit is None else {"count": limit.frames, "bytes": limit.bytes, "window_s": WINDOW_S}
        return {
            "protocols": list(PROTOCOLS),
            "domains": sorted(domains),
            "limits": {
                "message_bytes_max": self._config.message_bytes_max,
                "rate": rate,
                "sessions_max": self._config.sessions_max,
            },
            "registry": self._offered_registry(),
            "software": f"rmb-relay {__version__}",
        }

    def _offered_registry(self) -> str | None:
        """Where clients find the registry that this relay uses: a path here, a URL, or nothing they could reach.

        A chain is not offered: nobody should pay fees on a chain because a relay said so.
        """
        if self._chain_nodes:
            return None
        if self._config.registry == REGISTRY_HOSTED:
            return REGISTRY_PATH
        return self._config.registry if self._config.registry.startswith(("http://", "https://")) else None

    async def _serve(
        self, stack: AsyncExitStack, app: web.Application, server: Server, listener: socket.socket
    ) -> None:
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=REQUESTS_S_MAX,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(server.drain, DRAIN_S_MAX)
        site = web.SockSite(runner, listener)
        await site.start()
        stack.push_async_callback(site.stop)
