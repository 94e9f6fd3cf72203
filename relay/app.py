"""Builds the relay, runs it, stops it in order; names concrete classes, as only `registry_opening.py` does besides.

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

from relay.admin import add_admin_routes
from relay.admission import Admission, AdmissionFileBad
from relay.certificates import CertificateBad, Certificates
from relay.config import RelayConfig, default_domains
from relay.delivery import Delivery
from relay.dropping import Dropping
from relay.entrance import Entrance
from relay.exchange import Exchange
from relay.expiring import ExpiringMailboxes, Expiry, Sieve
from relay.federation.inbound_opening import open_gate, open_identity
from relay.federation.link_signature import sign_link
from relay.federation.metrics import federation_families
from relay.federation.opening import open_federation
from relay.federation.outbound import Federation
from relay.federation.redis_outbox import RedisOutboxes
from relay.federation.redis_outbox import close as close_outboxes
from relay.federation.signature import sign_post
from relay.horizon import Horizon
from relay.identity import RelayIdentity
from relay.janitor import Janitor
from relay.lease import Lease
from relay.limit_reload import admission_of, rates_of, reload_limits
from relay.limits import WINDOW_S, RateLimiter
from relay.listening import address_of, listen, local_address_of, raise_open_files
from relay.mailboxes import Limit, Mailboxes, MailboxFailed
from relay.metrics import Metrics
from relay.occupancy import Occupancy
from relay.probe import Probe, ProbeIdentity, ProbeLookup
from relay.readiness import Readiness
from relay.redis_mailboxes import RedisMailboxes
from relay.redis_presence import RedisPresence
from relay.registry_opening import offered_registry, open_lookup
from relay.reload import Reloads
from relay.server import Server, prepare
from relay.session_log import SessionLog
from relay.sessions import Sessions
from relay.store import STORE_ERRORS, Store, connect, connect_for_news, detect_cluster
from relay.tasks import end as end_tasks
from relay.telling import Telling
from relay.twin_rates import TwinRates
from relay.upkeep import Upkeep
from relay.visitors import Visitors
from relay.watched_files import WatchedFiles
from rmb_peer import __version__
from rmb_peer.embedded.valkey import EmbeddedServerFailed, EmbeddedValkey
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.errors import LocalError
from rmb_peer.protocol.link.endings import SUBPROTOCOL
from rmb_peer.protocol.names import normalize_relay
from rmb_peer.registry.lookup import TwinLookup

PROTOCOLS = ("rmb.1", SUBPROTOCOL)
"""What clients may speak: one envelope per binary message, or the acknowledged link."""

STORE_TIMEOUT_S = 20.0
"""A store that takes longer for one answer is treated as gone. A guess: a busy disk holds up an append-only file for
seconds, and half of what a link waits for an answer (spec rmb 5.7) is left for telling the sender."""


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
        reloads: who takes a changed configuration over.
        admin_address: `host:port` of metrics and health, if that is another one.
        process: its name among all that share the store.
        mailboxes: its store, once it has started.
        telling: tells requesters what was dropped, once it has started.
        identity: its key, once it has started.
        federation: its way to other relays, once it has started; `None` for none.
        readiness: what `/readyz` says, once it has started.
        presence: where the sessions of all processes are, once it has started.
    """

    def __init__(
        self,
        config: RelayConfig,
        *,
        lookup: TwinLookup | None = None,
        now_s: Callable[[], float] = time.time,
        probe_seed: bytes | None = None,
    ) -> None:
        """Prepare; nothing happens before it is entered.

        Args:
            config: what the operator decided.
            lookup: answers who is twin N, instead of what `config.registry` says.
            now_s: tells Unix seconds.
            probe_seed: 32 bytes that all processes on one port share, see `ProbeIdentity`.
        """
        self.reloads = Reloads(config)
        self._probe_identity = ProbeIdentity(probe_seed)
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.admin_address = ""
        self._config = config
        self._lookup = lookup
        self._now_s = now_s
        self._stack = AsyncExitStack()
        self.address = ""
        self.url = ""
        self.metrics = Metrics()
        self.process = secrets.token_hex(8)
        self._scrape: Callable[[], Awaitable[bytes]] | None = None
        self._cluster = False
        self.mailboxes: RedisMailboxes
        self.telling: Telling
        self._dropping: Dropping | None = None
        self._janitor: Janitor | None = None
        self.identity: RelayIdentity
        self.federation: Federation | None = None
        self.readiness: Readiness
        self._watched: list[WatchedFiles] = []
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
        admission, certificates = self._read_admission(), self._read_certificates()
        raise_open_files()
        listener = self._listen(config.listen_host, config.listen_port)
        stack.callback(listener.close)
        self.url = f"ws://{local_address_of(listener)}"
        port = listener.getsockname()[1]
        domains = frozenset(normalize_relay(name) for name in config.domains) or default_domains(port)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        store_url = next(iter(config.redis_cluster), config.redis_url) or await self._start_store(stack, tasks)
        self._cluster = bool(config.redis_cluster) or await detect_cluster(store_url, STORE_TIMEOUT_S)
        self.mailboxes = stored = await self._open_mailboxes(stack, tasks, store_url)
        app = web.Application(client_max_size=config.message_bytes_max)
        lookup = self._lookup or await open_lookup(
            stack,
            tasks,
            config,
            app=app,
            domains=domains,
            metrics=self.metrics,
            connect=lambda: self._connect(stack, store_url),
        )
        sessions = Sessions(config.sessions_max, config.limits.sessions_per_twin)
        self.metrics.sessions = lambda: len(sessions)
        horizon = Horizon()
        self.presence = await self._open_presence(stack, tasks, store_url, sessions, horizon)
        delivery = Delivery(stored, sessions, self.metrics, entries_max=config.retention.count, presence=self.presence)
        self.telling = Telling(delivery, lookup, domains, self.metrics, self._now_s)
        stack.push_async_callback(self.telling.close)
        mailboxes = await self._keep_house(stack, tasks, store_url, stored)
        client = self._connect(stack, store_url)
        self.identity = identity = await open_identity(config.inbound.key_file, client)
        own_name = normalize_relay(config.domains[0]) if config.domains else f"localhost:{port}"
        self.federation = await self._open_federation(stack, store_url, delivery, lookup, domains, own_name)
        inbound = open_gate(
            client, config.inbound, config.federation, domains=domains, metrics=self.metrics, now_s=self._now_s
        )
        gate = await stack.enter_async_context(inbound)
        absent_twins_max = 2 * config.sessions_max  # spec rmb 6.9
        limiter = RateLimiter.of(config.rate_limit, absent_twins_max)
        self.reloads.on_change("rate_limit", limiter.change)
        rates = TwinRates(rates_of(config), absent_twins_max)
        occupancy: Occupancy[str] = Occupancy(config.limits.connections_per_address)
        exchange = Exchange(
            delivery=delivery,
            lookup=lookup,
            domains=domains,
            limiter=limiter,
            metrics=self.metrics,
            now_s=self._now_s,
            federation=self.federation,
            rates=rates,
            presence=self.presence,
            horizon=horizon,
        )
        session_log = SessionLog(lambda: len(sessions))
        stack.callback(session_log.end)
        server = Server(
            exchange,
            sessions,
            mailboxes,
            gate,
            rhythm=config.rhythm,
            message_bytes_max=config.message_bytes_max,
            direct_s_max=config.direct_s_max,
            well_known=self._well_known(domains, identity, own_name),
            admits=ProbeLookup(lookup, self._probe_identity),
            session_log=session_log,
            admission=admission,
            body_s=config.limits.body_s,
        )
        server.add_to(app)
        reload_limits(
            self.reloads,
            rates=rates,
            sessions=sessions,
            occupancy=occupancy,
            server=server,
            certificates=certificates,
        )
        self._watch_files(stack, tasks, server, certificates)
        if certificates is not None:
            self.url = f"wss://{local_address_of(listener)}"
        probe = Probe(self._probe_identity, self.url, now_s=self._now_s, clock=time.monotonic)
        self.readiness = readiness = Readiness(probe, time.monotonic)
        await self._serve_admin(stack, app, readiness)
        await self._serve(stack, app, server, listener, certificates, occupancy)
        stack.push_async_callback(self._give_notice, readiness)
        self.address = address_of(listener)
        others = {"admin": self.admin_address} if self.admin_address else {}
        event(_LOG, logging.INFO, "listening", address=self.address, domains=sorted(domains), **others)

    async def _give_notice(self, readiness: Readiness) -> None:
        """Let load balancers look away, while everything goes on."""
        readiness.stopping()
        await self._sleep(self.reloads.config.operating.drain_notice_s)

    async def _drain(self, server: Server) -> None:
        await server.drain(self.reloads.config.operating.drain_s)

    async def _serve_admin(self, stack: AsyncExitStack, app: web.Application, readiness: Readiness) -> None:
        """Offer metrics and health. A port of their own outlives the drain, so that it can be watched."""
        for name in ("drain_s", "drain_notice_s"):
            self.reloads.on_change(f"operating.{name}", lambda _: None)  # looked up when they are needed
        operating = self._config.operating
        if operating.admin_host is None:
            add_admin_routes(app, self._all_metrics, self.mailboxes, readiness)
            return
        admin = web.Application()
        admin.on_response_prepare.append(prepare)
        add_admin_routes(admin, self._all_metrics, self.mailboxes, readiness)
        listener = self._listen(operating.admin_host, operating.admin_port)
        stack.callback(listener.close)
        self.admin_address = address_of(listener)
        await web.SockSite(await self._runner(stack, admin), listener).start()

    def _read_admission(self) -> Admission:
        try:
            return admission_of(self._config)
        except AdmissionFileBad as error:
            raise StartFailed(str(error)) from None

    def _read_certificates(self) -> Certificates | None:
        limits = self._config.limits
        try:
            return Certificates(limits.tls_certificate, limits.tls_key) if limits.tls_certificate else None
        except CertificateBad as error:
            raise StartFailed(f"--tls-cert: {error}") from None

    def _watch_files(
        self, stack: AsyncExitStack, tasks: asyncio.TaskGroup, server: Server, certificates: Certificates | None
    ) -> None:
        limits = self._config.limits
        loop = asyncio.get_running_loop()

        def read_again() -> None:
            loop.call_soon_threadsafe(server.admit, admission_of(self.reloads.config))

        lists = [path for path in (limits.admit_file, limits.ticket_file) if path is not None]
        self._watched = [WatchedFiles("who may sign in", lists, read_again)] if lists else []
        if certificates is not None:
            self._watched.append(WatchedFiles("certificate", certificates.files, certificates.reload))
        watching = [tasks.create_task(files.run()) for files in self._watched]
        stack.push_async_callback(end_tasks, watching)

    def scrape_with(self, scrape: Callable[[], Awaitable[bytes]]) -> None:
        """Answer scrapes with this, instead of the metrics of this process alone."""
        self._scrape = scrape

    async def _all_metrics(self) -> bytes:
        return self.metrics.text() if self._scrape is None else await self._scrape()

    def _listen(self, host: str, port: int) -> socket.socket:
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
            retention=self._config.retention,
            on_poison=self._count_poison,
            on_dropped=self._made_room,
            on_full=self._full,
            now_s=self._now_s,
            stored_bytes=lambda: self.metrics.stored.bytes,
            append_s_max=self._config.store_patience_s,
        )
        try:
            await mailboxes.ping()
        except MailboxFailed as error:
            raise StartFailed(f"cannot use the store given by {self._store_flag}: {error.__cause__ or error}") from None
        stack.push_async_callback(mailboxes.close)
        tasks.create_task(mailboxes.run())
        return mailboxes

    async def _keep_house(
        self, stack: AsyncExitStack, tasks: asyncio.TaskGroup, url: str, stored: RedisMailboxes
    ) -> Mailboxes:
        """What has waited for too long is left out and dropped, whether anybody reads it or not."""
        age_s = self._config.retention.age_s
        self._dropping = Dropping(self.telling, self.metrics, age_s)
        sieve = Sieve(stored, Expiry(age_s), self._dropping.gone, self._now_s)
        client = self._connect(stack, url, timeout_s=None)
        self._janitor = Janitor(Upkeep(client), sieve, Lease(client, "mailboxes"), self.metrics, self._now_s)
        working = tasks.create_task(self._janitor.run())
        stack.push_async_callback(end_tasks, [working])
        return ExpiringMailboxes(stored, sieve)

    def _made_room(self, data: bytes) -> None:
        if self._dropping is not None:
            self._dropping.made_room(data)

    def _full(self, owner: Address, limit: Limit) -> None:
        if self._janitor is not None:
            self._janitor.is_full(owner, limit)

    async def _open_federation(
        self,
        stack: AsyncExitStack,
        store_url: str,
        delivery: Delivery,
        lookup: TwinLookup,
        domains: frozenset[str],
        own_name: str,
    ) -> Federation | None:
        settings = self._config.federation
        if not settings.enabled:
            return None
        client = self._connect(stack, store_url, once=True)
        outboxes = RedisOutboxes(
            client,
            process=self.process,
            entries_max=settings.entries_max,
            bytes_max=settings.bytes_max,
            put_s_max=self._config.store_patience_s,
            news=(lambda: connect_for_news(client, self._config.redis_cluster or (store_url,)))
            if self._cluster
            else None,
        )
        stack.push_async_callback(close_outboxes, asyncio.create_task(outboxes.run()), outboxes)
        federation = await stack.enter_async_context(
            open_federation(
                outboxes,
                settings,
                domains=domains,
                lookup=lookup,
                tell=self.telling.tell_sender,
                deliver_here=delivery.deliver,
                own_key=self.identity.public_key.hex(),
                sign=lambda name, body: sign_post(self.identity, own_name, name, body, self._now_s()),
                sign_link=lambda name, nonce: sign_link(self.identity, own_name, name, nonce, self._now_s()),
                now_s=self._now_s,
            )
        )
        self.telling.forwards = federation
        self.metrics.federation = lambda: federation_families(
            federation.counts.success, federation.counts.error, federation.statuses(), self._now_s()
        )
        return federation

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
            raise StartFailed(f"cannot use the store given by {self._store_flag}: {error}") from None
        stack.push_async_callback(presence.close)
        tasks.create_task(presence.run())
        return presence

    @property
    def _store_flag(self) -> str:
        """What an operator changes when the store cannot be used."""
        return "--redis-cluster" if self._config.redis_cluster else "--redis"

    def _connect(
        self, stack: AsyncExitStack, url: str, *, once: bool = False, timeout_s: float | None = STORE_TIMEOUT_S
    ) -> Store:
        urls = self._config.redis_cluster or (url,)
        try:
            client = connect(urls, cluster=self._cluster, timeout_s=timeout_s, once=once)
        except ValueError as error:
            raise StartFailed(f"{self._store_flag} is no URL of a store: {error}") from None
        stack.push_async_callback(client.aclose)
        return client

    def _count_poison(self, count: int) -> None:
        self.metrics.poison += count

    def _well_known(self, domains: frozenset[str], identity: RelayIdentity, own_name: str) -> dict[str, Any]:
        limit = self._config.rate_limit
        rate = None if limit is None else {"count": limit.frames, "bytes": limit.bytes, "window_s": WINDOW_S}
        return {
            "protocols": list(PROTOCOLS),
            "domains": sorted(domains),
            "limits": {
                "message_bytes_max": self._config.message_bytes_max,
                "rate": rate,
                "sessions_max": self._config.sessions_max,
                **self._config.limits.told(),
            },
            "retention": self._config.retention.well_known(),
            "registry": offered_registry(self._config),
            "relay_key": identity.public_key.hex(),
            "federation": self._config.inbound.shown(own_name),
            "software": f"rmb-relay {__version__}",
        }

    async def _serve(
        self,
        stack: AsyncExitStack,
        app: web.Application,
        server: Server,
        listener: socket.socket,
        certificates: Certificates | None,
        occupancy: Occupancy[str],
    ) -> None:
        limits = self._config.limits
        Visitors(limits, self.metrics, occupancy).add_to(app)
        runner = await self._runner(stack, app)
        stack.push_async_callback(self._drain, server)
        assert runner.server is not None
        entrance = Entrance(runner.server, limits, self.metrics, occupancy=occupancy, certificates=certificates)
        await entrance.open(listener)
        stack.callback(listener.close)  # or those who come while we stop would wait in its queue
        stack.push_async_callback(entrance.close)

    async def _runner(self, stack: AsyncExitStack, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=REQUESTS_S_MAX,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        return runner
