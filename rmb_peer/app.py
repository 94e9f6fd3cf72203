"""The gateway put together: the only file here that names every concrete class, owns every task, and knows the order of
starting and stopping (DESIGN.md).
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from redis.exceptions import RedisError

from rmb_peer import __version__
from rmb_peer.conclusions import Conclusions
from rmb_peer.config import GatewayConfig
from rmb_peer.deadlines import Deadlines
from rmb_peer.downstream import Downstream
from rmb_peer.embedded.valkey import EmbeddedServerFailed, EmbeddedValkey
from rmb_peer.http_server import listening
from rmb_peer.journal import Journal
from rmb_peer.local.janitor import Janitor
from rmb_peer.local.lease_events import LeaseEvent, listen
from rmb_peer.local.queues import JournalLimits
from rmb_peer.local.redis_client import open_redis
from rmb_peer.local.redis_queues import RedisQueues, connect
from rmb_peer.local.sole_gateway import AnotherGateway, claim, describe, gateway_client_name, older_rivals
from rmb_peer.logs import event, get_logger
from rmb_peer.observation import Observation, Parts
from rmb_peer.own_record import Wish, decode_own_record, encode_own_record, settle_own_record
from rmb_peer.probing import Prober
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.backoff import Backoff
from rmb_peer.protocol.bao.engines import chosen_engine_name
from rmb_peer.protocol.errors import BadRequest, OtherError
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.link.endings import SUBPROTOCOL
from rmb_peer.protocol.ss58 import encode_account
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry, RegistryUnavailable
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.opening import open_registry
from rmb_peer.registry.tfchain.errors import WrongChain
from rmb_peer.registry.tfchain.records import chain_relays
from rmb_peer.remembered import Remembered
from rmb_peer.sender import Sender
from rmb_peer.stopping import Stopped, until_stopped
from rmb_peer.transport.inbox import Inbox
from rmb_peer.transport.relay_pool import RelayPool
from rmb_peer.transport.tickets import Tickets
from rmb_peer.upstream import Upstream
from rmb_peer.workers.pool import Workers, open_workers

EMBEDDED_PORT = 6379
"""Where programs look for Redis by themselves."""

DRAIN_S_MAX = 5.0
"""Longest wait at the end for messages under way to arrive; what has not is in the outbox and goes out next time."""

REGISTRY_RETRY_S_FIRST, REGISTRY_RETRY_S_MAX = 0.5, 15.0
"""Pauses while the registry is away at start. A guess: relays and gateways are often started together."""

KNOWN_RECORD_PATIENCE_S = 10.0
"""Wait for the registry at start when our record is known from before; a guess: messages wait meanwhile."""

T = TypeVar("T")

_DRAIN_POLL_S = 0.02
_LOG = get_logger("gateway")


class Gateway:
    """One running gateway.

    Attributes:
        twin: our own record.
        redis_url: where local programs push and pop.
    """

    def __init__(self, config: GatewayConfig, identity: Identity, *, offers: Sequence[str] = (SUBPROTOCOL,)) -> None:
        """Describe it; `run` runs it.

        Args:
            config: settings.
            identity: our keys.
            offers: what is offered to the relays besides rmb.1; nothing makes a gateway like those of other makes.

        Raises:
            BadRequest: the file with tickets cannot be used.
        """
        self._config = config
        self._offers = offers
        self._identity = identity
        self._stop = asyncio.Event()
        self._settling: asyncio.Task[Twin] | None = None
        self._failure: OtherError | None = None
        self._tickets = Tickets(config.relay_ticket_file, config.relay)
        self._journal = Journal(JournalLimits(config.journal_bytes, config.journal_age))
        self.twin: Twin | None = None
        self.redis_url = config.redis

    def stop(self) -> None:
        """Ask it to stop in order."""
        self._stop.set()

    async def run(self) -> None:
        """Start, serve until `stop` is called, stop in order.

        Raises:
            BadRequest: a setting cannot be used.
            OtherError: the store or the registry refuses us; says what to do.
        """
        async with AsyncExitStack() as stack:
            workers = await stack.enter_async_context(open_workers(self._config.workers, self._identity))
            queues, check = await stack.enter_async_context(self._store())
            observation = Observation(
                queues=queues,
                journal=self._journal,
                why_refused=queues.why_refused,
                trouble=lambda: queues.trouble,
                depths=queues.depths,
                wall_clock=time.time,
                clock=time.monotonic,
            )
            if self._config.http is not None:
                address = await stack.enter_async_context(listening(self._config.http, observation))
                event(_LOG, logging.INFO, "http listening", address=address)
            registry = await stack.enter_async_context(self._registry())
            cache = CachedRegistry(registry)
            try:
                twin = await self._own_twin(cache, queues)
                if twin is None:
                    return  # told to stop before the registry answered
                self.twin = twin
                await self._unless_stopped(queues.announce(self._status(twin)))
                await self._serve(queues, cache, twin, observation, check, workers)
            except Stopped:
                event(_LOG, logging.INFO, "stopped before it ran")
            finally:
                await self._stop_settling()
        if self._failure is not None:
            raise self._failure

    async def _serve(
        self,
        queues: RedisQueues,
        cache: CachedRegistry,
        twin: Twin,
        observation: Observation,
        check: Callable[[], Awaitable[None]],
        workers: Workers | None,
    ) -> None:
        if workers is not None:
            await self._unless_stopped(workers.ready())
        signer, journal = self._identity.signer, self._journal
        pool = RelayPool(
            self._config.relay,
            Inbox(),
            make_token=lambda: make_token(signer, Address(twin.id), int(time.time())),
            clock=time.monotonic,
            wall_clock=time.time,
            random=random.random,
            message_bytes_max=self._config.message_bytes_max,
            twin=twin.id,
            offers=self._offers,
            ticket_of=self._tickets.of,
        )
        conclusions, remembered = Conclusions(queues), Remembered(queues)
        uid_key = await self._unless_stopped(queues.uid_key())
        async with until_stopped() as tasks:
            sender = Sender(
                twin_id=twin.id,
                identity=self._identity,
                cache=cache,
                pool=pool,
                tasks=tasks,
                wall_clock=time.time,
                message_bytes_max=self._config.message_bytes_max,
                publishes_key=self._publishes_key(twin),
                journal=journal,
                workers=workers,
            )
            upstream = Upstream(
                queues=queues,
                remembered=remembered,
                sender=sender,
                conclusions=conclusions,
                uid_key=uid_key,
                wall_clock=time.time,
                message_bytes_max=self._config.message_bytes_max,
                journal=journal,
            )
            downstream = Downstream(
                twin_id=twin.id,
                encryption=self._identity.encryption,
                cache=cache,
                inbox=pool.inbox,
                queues=queues,
                remembered=remembered,
                sender=sender,
                conclusions=conclusions,
                tasks=tasks,
                wall_clock=time.time,
                journal=journal,
                workers=workers,
            )
            prober = Prober(
                twin_id=twin.id,
                sender=sender,
                downstream=downstream,
                connected=pool.anyone_connected.is_set,
                clock=time.monotonic,
                random_bytes=os.urandom,
            )
            observation.parts = Parts(twin.id, pool, upstream, downstream, prober, workers)
            observation.state = "running"
            if workers is not None:
                tasks.create_task(workers.run())
            taking = tasks.create_task(upstream.run())
            for work in (
                downstream.run(),
                conclusions.run(),
                Deadlines(queues, time.time, journal).run(),
                pool.run(),
                cache.follow(),
                self._confirm(twin),
                self._look_after_leases(),
                journal.run(queues),
                observation.run(check),
            ):
                tasks.create_task(work)
            event(
                _LOG,
                logging.INFO,
                "gateway runs",
                twin=twin.id,
                version=__version__,
                redis=_without_password(self.redis_url),
            )
            await self._stop.wait()
            event(_LOG, logging.INFO, "stopping")
            observation.state = "stopping"
            # The order of stopping: take nothing new; let what is under way arrive; write how it ended; cut the links.
            taking.cancel()
            try:
                async with asyncio.timeout(DRAIN_S_MAX):
                    await self._drain(pool, downstream, workers)
                    await conclusions.flush()
                    await journal.flush(queues)
                    observation.state = "stopped"
                    await observation.publish()
            except TimeoutError:
                event(_LOG, logging.WARNING, "stopped before everything had ended; the rest goes out at the next start")
            raise Stopped  # the group cancels what is left, look-ups included
        event(_LOG, logging.INFO, "stopped", **downstream.counts)

    async def _drain(self, pool: RelayPool, downstream: Downstream, workers: Workers | None) -> None:
        while not (pool.idle and downstream.idle and (workers is None or workers.idle)):  # noqa: ASYNC110 - several conditions, none of them an event
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _look_after_leases(self) -> None:
        redis = open_redis(self.redis_url)
        hear_no_more = listen(self._note_lease)
        try:
            await Janitor(redis).run()
        finally:
            hear_no_more()
            await redis.aclose()

    def _note_lease(self, happened: LeaseEvent) -> None:
        if happened.uid is not None:
            why = f"{happened.step.value}: {happened.detail}"
            self._journal.note(happened.uid, "service-failed", cmd=happened.command, why=why)

    async def _unless_stopped(self, step: Coroutine[Any, Any, T]) -> T:
        """A step of starting, which waits for a store that is away or refuses for as long as that takes.

        Raises:
            Stopped: told to stop first.
        """
        doing, stopped = asyncio.create_task(step), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise Stopped
            return doing.result()
        finally:
            doing.cancel()
            stopped.cancel()
            await asyncio.gather(doing, stopped, return_exceptions=True)

    async def _own_twin(self, registry: Registry, queues: RedisQueues) -> Twin | None:
        """Find or write our own record; `None` when told to stop before that.

        While the registry is away this waits, unless the record is known from an earlier run: then the gateway goes on
        with that and `_confirm` catches up.
        """
        kept = await self._unless_stopped(queues.own_record())
        known = decode_own_record(kept, self._registry_label, self._identity.account)
        self._settling = asyncio.create_task(self._settle(registry, queues))
        stopped = asyncio.create_task(self._stop.wait())
        patience_s = None if known is None else KNOWN_RECORD_PATIENCE_S
        try:
            await asyncio.wait({self._settling, stopped}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._settling.done():
            return self._settling.result()
        if self._stop.is_set() or known is None:
            return None
        event(
            _LOG,
            logging.WARNING,
            "the registry of twins does not answer: going on with our record as it was last seen",
            twin=known.id,
        )
        return known

    async def _settle(self, registry: Registry, queues: RedisQueues) -> Twin:
        """Settle our own record, however long the registry is away (spec rmb 7.3)."""
        backoff = Backoff(REGISTRY_RETRY_S_FIRST, REGISTRY_RETRY_S_MAX, random.random)
        wish = self._wish()
        while True:
            try:
                twin = await settle_own_record(registry, self._identity, wish)
                break
            except WrongChain:
                raise  # waiting makes no other chain of it
            except RegistryUnavailable as error:
                event(_LOG, logging.WARNING, "waiting for the registry of twins", reason=str(error))
            await asyncio.sleep(backoff.next_s())
        await queues.keep_own_record(encode_own_record(twin, self._registry_label))
        return twin

    async def _confirm(self, twin: Twin) -> None:
        """See whether the record that we started with is still ours; stop with an error if it is not."""
        assert self._settling is not None
        try:
            now = await self._settling
            if now.id != twin.id:
                raise OtherError(f"our twin is {now.id} and was {twin.id} before: start again")
        except OtherError as error:
            self._failure = error
            self._stop.set()

    def _wish(self) -> Wish:
        config, relays = self._config, self._config.relay_names
        return Wish(
            relays=chain_relays(relays) if config.substrate else relays,
            no_update=config.no_update,
            costs_a_fee=bool(config.substrate),
            overwrite_relays=config.overwrite_relays,
        )

    async def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)

    @property
    def _registry_label(self) -> str:
        """Which registry a kept record is from."""
        return " ".join(sorted(self._config.registry_urls))

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[tuple[RedisQueues, Callable[[], Awaitable[None]]]]:
        """The store, and a check that it is still ours alone."""
        embedded, url = None, self._config.redis
        if url.split(":")[0] == "embedded":
            try:
                embedded = await EmbeddedValkey.start(self._config.data, port=_embedded_port(url))
            except (EmbeddedServerFailed, OSError) as error:
                raise OtherError(str(error)) from None
            url = embedded.url
        self.redis_url = url
        keeper = asyncio.create_task(embedded.keep_running()) if embedded else None
        name = gateway_client_name(os.urandom(8))
        try:
            try:
                redis = await connect(url, name)
            except (ConnectionError, ValueError) as error:
                raise OtherError(
                    f"no Redis at {_without_password(url)} ({error}): start one, or give --redis"
                ) from None
            queues = RedisQueues(redis, random_bytes=os.urandom)

            async def check() -> None:
                try:
                    rivals = await older_rivals(redis, name)
                except RedisError:
                    return  # away; whoever needs it says so
                if rivals:
                    self._failure = AnotherGateway(describe(rivals))
                    self.stop()

            try:
                try:
                    await claim(redis, name)
                except RedisError as error:
                    raise OtherError(f"the store at {_without_password(url)} failed: {error}") from None
                yield queues, check
            finally:
                await queues.close()
        finally:
            if embedded and keeper:
                await embedded.stop()
                await keeper

    @asynccontextmanager
    async def _registry(self) -> AsyncIterator[Registry]:
        registry = open_registry(*self._config.registry_urls, relays=self._config.relay)
        try:
            yield registry
        finally:
            await registry.close()

    def _publishes_key(self, twin: Twin) -> bool:
        if twin.public_key == self._identity.public_key:
            return True
        event(
            _LOG, logging.WARNING, "our record does not show our encryption key, so nothing can be sealed", twin=twin.id
        )
        return False

    def _status(self, twin: Twin) -> dict[str, str]:
        return {
            "twin": str(twin.id),
            "account": encode_account(twin.account),
            "relays": " ".join(self._config.relay),
            "key_type": self._identity.signer.key_type,
            "version": __version__,
            "started_at_s": str(int(time.time())),
            "bao_engine": chosen_engine_name() or "none yet",  # chosen when a bridge first needs it
        }


def _embedded_port(url: str) -> int:
    text = url.partition(":")[2] or str(EMBEDDED_PORT)
    if not text.isdigit() or int(text) > 65535:
        raise BadRequest(f"redis must be embedded or embedded:PORT, not {url!r}")
    return int(text)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url
