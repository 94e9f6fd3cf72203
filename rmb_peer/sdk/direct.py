"""A client that connects to relays itself, without a gateway and without Redis, as the Go and TypeScript SDKs do.

    async with DirectClient(secret, ["wss://relay.example.org"]) as client:
        print((await client.call(7, "calc.add", [1, 2])).json())

It has a session id of its own, so it may use the identity of a gateway that runs elsewhere (spec rmb 1). It can also
answer commands. What it has in hand is only in memory: a service that must not lose requests stands behind a gateway
(`service.py`).
"""

import asyncio
import logging
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

from rmb_peer.arrivals import Arrival, examine
from rmb_peer.built_in import answer as built_in_answer
from rmb_peer.built_in import is_built_in
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX, Envelope, error_reply, open_payload, verify_envelope
from rmb_peer.protocol.errors import (
    BadRequest,
    CannotDecrypt,
    ClockSkew,
    InvalidSignature,
    MessageExpired,
    PeerError,
    RmbError,
    SenderHasNoPublicKey,
    UnknownSender,
)
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.lifetime import RESPONSE_LIFETIME_S, cap
from rmb_peer.protocol.names import RELAYS_MAX, relay_of_url
from rmb_peer.protocol.signatures import KeyType
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry, RegistryRefused, RegistryUnavailable
from rmb_peer.registry.cached import CachedRegistry
from rmb_peer.registry.lru import Lru
from rmb_peer.registry.opening import open_registry
from rmb_peer.sdk.asking import Asker, Question
from rmb_peer.sdk.errors import NOT_FOUND, RelayUnavailable
from rmb_peer.sdk.handling import Command, Commands, F, Request
from rmb_peer.sender import Draft, Sender
from rmb_peer.transport.inbox import Inbox, Received
from rmb_peer.transport.relay_pool import RelayPool
from rmb_peer.transport.tickets import check_ticket
from rmb_peer.uids import ONCE_BYTES

CONNECT_S_MAX = 30.0
"""Longest wait for the registry and the first relay. A guess."""

LOOKUP_S_MAX = 10.0
"""Longest wait for the record of a sender; a guess, as for gateways (`registry/lanes.py`)."""

ARRIVALS_MAX = 64
"""Frames that are checked at the same time, most of them waiting for a look-up; a guess."""

HANDLING_MAX = 1000
"""Requests that are answered or wait for their turn; further ones are refused with code 429. A guess."""

MARKS_MAX = 10_000
"""Messages remembered, so that a repeat is recognised; a guess, as many as relays keep for a twin that is away."""

SESSION_CHARS_MAX = 64
"""Longer session ids make tokens that the Go SDK's way of signing spoils (spec rmb 4.1)."""

DRAIN_S_MAX = 5.0
"""Longest wait at the end for what was sent to arrive."""

TOO_MANY = 429
"""As in HTTP."""

_DRAIN_POLL_S = 0.02
_LOG = get_logger("direct")


class DirectClient(Asker):
    """Asks and answers as one twin. Use it as an async context manager.

    Attributes:
        twin: our own record, once connected.
        session: our session id.
    """

    def __init__(
        self,
        secret: str | Identity,
        relays: Sequence[str],
        *,
        registry: str | Registry | None = None,
        key_type: KeyType = "sr25519",
        session: str | None = None,
        register: bool = False,
        ticket: str | None = None,
    ) -> None:
        """Describe it.

        Args:
            secret: mnemonic or 0x seed, or the keys made from one.
            relays: `ws://` or `wss://` URLs, the preferred one first; our record must list them.
            registry: URL of the registry of twins, or an open one; by default the one that the first relay offers.
            key_type: scheme of the signing key.
            session: session id; by default a random one. Two connections with the same one evict each other.
            register: write our record (with these relays) if there is none yet, or if it says something else. Do not
                set it where a gateway with the same identity uses other relays.
            ticket: for relays that ask for one; all relays here are shown the same.

        Raises:
            ValueError: the secret, a URL or the session id cannot be used.
        """
        super().__init__()
        if not 1 <= len(relays) <= RELAYS_MAX:
            raise ValueError(f"a twin uses 1 to {RELAYS_MAX} relays, not {len(relays)}")
        self._relays = tuple(relays)
        try:
            self._identity = (
                secret if isinstance(secret, Identity) else Identity.from_secret(secret, key_type, os.urandom)
            )
            self._relay_names = frozenset(relay_of_url(url) for url in relays)
            self._ticket = None if ticket is None else check_ticket(ticket)
        except BadRequest as error:
            raise ValueError(str(error)) from None
        self.session = uuid.uuid4().hex[:16] if session is None else session
        if len(self.session) > SESSION_CHARS_MAX or not self.session.isascii():
            raise ValueError(f"a session id has at most {SESSION_CHARS_MAX} ASCII characters")
        self._registry = registry
        self._register = register
        self._commands = Commands()
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._handling = 0
        self._marks: Lru[str, bool] = Lru(MARKS_MAX)
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._connected = False
        self._sender: Sender | None = None
        self.twin: Twin | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            RelayUnavailable: no relay or registry answers, or the registry knows no twin with our key.
        """
        connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(connected))
        either: set[asyncio.Future[None]] = {connected, self._running}
        try:
            await asyncio.wait(either, timeout=CONNECT_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.close()
            raise
        self._connected = connected.done()
        if not self._connected:
            reason = f"no answer within {CONNECT_S_MAX:g} s"
            if self._running.done():
                error = self._running.exception()
                if not isinstance(error, RmbError):
                    self._running.result()
                reason = str(error)
            await self.close()
            raise RelayUnavailable(f"cannot connect to {', '.join(self._relays)}: {reason}")
        return self

    async def close(self) -> None:
        """See `Asker.close`; what is being answered or on its way gets a moment to arrive."""
        running, self._running = self._running, None
        if running is None:
            return
        if not self._connected:
            running.cancel()
        self._stopping.set()
        await asyncio.wait({running})
        self._commands.close()
        if not running.cancelled() and running.exception() is not None and self._connected:
            running.result()

    def command(self, name: str, *, concurrency: int = 1, timeout_s: float | None = None) -> Callable[[F], F]:
        """Decorator: let a function answer a command; see `Service.command`.

        Raises:
            ValueError: the name cannot be a service's or has a handler already, or a number is out of bounds.
        """

        def register(handler: F) -> F:
            self._commands.add(Command(name, handler, concurrency, timeout_s))
            self._turns[name] = asyncio.Semaphore(concurrency)
            return handler

        return register

    async def wait_closed(self) -> None:
        """Answer commands until `close` is called by somebody else, or the connection fails for good."""
        if self._running is not None:
            await asyncio.wait({self._running})

    # --- life ---------------------------------------------------------------------------------------------------------

    async def _run(self, connected: "asyncio.Future[None]") -> None:
        async with self._open_registry() as registry:
            cache = CachedRegistry(registry)
            self.twin = twin = await self._own_twin(registry)
            signer, owner = self._identity.signer, Address(twin.id, self.session)
            pool = RelayPool(
                self._relays,
                Inbox(),
                make_token=lambda: make_token(signer, owner, int(time.time())),
                clock=time.monotonic,
                wall_clock=time.time,
                random=random.random,
                message_bytes_max=MESSAGE_BYTES_MAX,
                twin=twin.id,
                ticket_of=lambda url: self._ticket,
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    for work in (pool.run(), cache.follow()):
                        tasks.create_task(work)
                    self._sender = Sender(
                        twin_id=twin.id,
                        identity=self._identity,
                        cache=cache,
                        pool=pool,
                        tasks=tasks,
                        wall_clock=time.time,
                        message_bytes_max=MESSAGE_BYTES_MAX,
                        publishes_key=twin.public_key == self._identity.public_key,
                        session=self.session,
                    )
                    tasks.create_task(self._receive(pool.inbox, cache, tasks))
                    await pool.anyone_connected.wait()
                    connected.set_result(None)
                    await self._stopping.wait()
                    await self._drain(pool)
                    raise _Stopped
            except* _Stopped:
                pass

    @asynccontextmanager
    async def _open_registry(self) -> AsyncIterator[Registry]:
        if self._registry is not None and not isinstance(self._registry, str):
            yield self._registry  # its owner closes it
            return
        registry = open_registry(self._registry or "relay:", relays=self._relays)
        try:
            yield registry
        finally:
            await registry.close()

    async def _own_twin(self, registry: Registry) -> Twin:
        if self._register:
            return await registry.put(self._identity.signer, self._relay_names, self._identity.public_key)
        twin = await registry.get_by_account(self._identity.account)
        if twin is None:
            raise RegistryRefused("the registry knows no twin with this key: pass register=True to make one")
        return twin

    async def _drain(self, pool: RelayPool) -> None:
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                while self._handling or not pool.idle:  # noqa: ASYNC110 - two conditions, none of them an event
                    await asyncio.sleep(_DRAIN_POLL_S)
        except TimeoutError:
            event(_LOG, logging.WARNING, "closed before everything that was sent had arrived")

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _ask(self, asked: Mapping[str, Question]) -> None:
        if self._sender is None or self._running is None or self._running.done():
            raise RelayUnavailable("this client is not connected: use it as an async context manager")
        for uid, question in asked.items():
            for twin in question.awaited.call.twins:
                self._send_request(uid, question, twin)

    def _send_request(self, uid: str, question: Question, twin: int) -> None:
        assert self._sender is not None
        call = question.awaited.call
        envelope = Envelope(
            uid=uid,
            tags=call.tag,
            timestamp=int(time.time()),
            expiration=int(question.timeout_s) + 1,  # whole seconds, and not less than we wait
            schema=call.payload.schema,
            plain=call.payload.data,
            once=os.urandom(ONCE_BYTES),
        )
        envelope.request.command = call.command
        Address(twin, call.session).write_to(envelope.destination)

        def failed(error: RmbError) -> None:
            question.heard("", b"", None, (error.code, str(error)), twin)

        self._sender.submit(Draft(envelope, arrived=lambda _: None, failed=failed))

    async def _take_back(self, unanswered: Mapping[str, Question]) -> frozenset[str]:
        return frozenset()  # what a relay has read cannot be called back; an answer to it is thrown away

    # --- receiving ----------------------------------------------------------------------------------------------------

    async def _receive(self, inbox: Inbox, cache: CachedRegistry, tasks: asyncio.TaskGroup) -> None:
        room = asyncio.Semaphore(ARRIVALS_MAX)

        async def check(frame: Received) -> None:
            try:
                await self._arrived(frame.data, cache, tasks)
            finally:
                frame.done()
                room.release()

        while True:
            await room.acquire()
            await inbox.wait_filled()
            for frame in inbox.take(1):
                tasks.create_task(check(frame))

    async def _arrived(self, frame: bytes, cache: CachedRegistry, tasks: asyncio.TaskGroup) -> None:
        assert self.twin is not None
        about: Envelope | None = None
        try:
            arrival = examine(frame, self.twin.id, int(time.time()), self.session)
            about = arrival.envelope
            payload = await self._verified(arrival, cache)
        except (MessageExpired, ClockSkew) as error:
            self._refuse(error, error.about)
        except PeerError as error:
            self._refuse(error, about)
        except (RegistryUnavailable, TimeoutError) as error:
            event(_LOG, logging.WARNING, "a sender could not be looked up", reason=str(error) or "no answer")
        else:
            self._take_in(arrival, payload, tasks)

    async def _verified(self, arrival: Arrival, cache: CachedRegistry) -> bytes:
        """The payload of a message that really is from its source (spec rmb 2.5, 10.10).

        An error of a relay is unsigned and counts only if somebody waits for its uid.
        """
        if arrival.source.twin == 0:
            return b""
        async with asyncio.timeout(LOOKUP_S_MAX):
            twin = await cache.get(arrival.source.twin)
            try:
                return self._opened(arrival, twin)
            except (InvalidSignature, CannotDecrypt, SenderHasNoPublicKey, UnknownSender):
                return self._opened(arrival, await cache.refresh(arrival.source.twin))  # it may have new keys

    def _opened(self, arrival: Arrival, twin: Twin | None) -> bytes:
        if twin is None:
            raise UnknownSender(arrival.source.twin)
        verify_envelope(arrival.envelope, twin.account)
        return open_payload(arrival.envelope, self._identity.encryption, twin.public_key)

    def _take_in(self, arrival: Arrival, payload: bytes, tasks: asyncio.TaskGroup) -> None:
        if any(self._marks.get(mark) for mark in arrival.marks):
            event(_LOG, logging.DEBUG, "repeat recognised", uid=arrival.envelope.uid, source=str(arrival.source))
            return
        for mark in arrival.marks:
            self._marks.put(mark, True)
        if arrival.kind == "request":
            self._requested(arrival, payload, tasks)
        else:
            self._answered(arrival, payload)

    def _answered(self, arrival: Arrival, payload: bytes) -> None:
        envelope = arrival.envelope
        question = self._questions.get(envelope.uid)
        if question is None:
            event(_LOG, logging.DEBUG, "an answer that nobody waits for was thrown away", source=str(arrival.source))
            return
        is_error = arrival.kind == "error"
        question.heard(
            str(arrival.source),
            b"" if is_error else payload,
            envelope.schema if envelope.HasField("schema") else None,
            (envelope.error.code, envelope.error.message) if is_error else None,
        )

    # --- answering ----------------------------------------------------------------------------------------------------

    def _requested(self, arrival: Arrival, payload: bytes, tasks: asyncio.TaskGroup) -> None:
        envelope, name = arrival.envelope, arrival.envelope.request.command
        command = self._commands.get(name)
        if is_built_in(name):
            try:
                self._send_back(built_in_answer(envelope))
            except PeerError as error:
                self._refuse(error, envelope)
        elif command is None:
            self._send_back(error_reply(envelope, NOT_FOUND, f"unknown command '{name[:255]}'"))
        elif self._handling >= HANDLING_MAX:
            self._send_back(error_reply(envelope, TOO_MANY, f"{HANDLING_MAX} requests wait already: try again later"))
        else:
            request = Request(
                source=str(arrival.source),
                command=name,
                payload=payload,
                schema=envelope.schema if envelope.HasField("schema") else None,
                tag=envelope.tags if envelope.HasField("tags") else None,
                uid=envelope.uid,
                ends_at_s=envelope.timestamp + envelope.expiration,
            )
            self._handling += 1
            tasks.create_task(self._answer(command, request, envelope))

    async def _answer(self, command: Command, request: Request, envelope: Envelope) -> None:
        try:
            async with self._turns[command.name]:
                if request.ends_at_s <= time.time():
                    self._refuse(MessageExpired(envelope), envelope)
                    return
                outcome = await command.answer(request)
        finally:
            self._handling -= 1
        if outcome.error is not None:
            self._send_back(error_reply(envelope, *outcome.error))
            return
        response = Envelope(
            uid=request.uid,
            expiration=cap(RESPONSE_LIFETIME_S),
            schema=outcome.payload.schema,
            plain=outcome.payload.data,
        )
        response.response.SetInParent()
        response.destination.CopyFrom(envelope.source)
        self._send_back(response)

    def _refuse(self, error: PeerError, about: Envelope | None) -> None:
        """Log a failure, and answer it when it concerns a request (spec rmb 5.9)."""
        uid = about.uid if about is not None else None
        event(_LOG, logging.DEBUG, "refused", uid=uid, code=error.code, reason=str(error))
        if about is not None and about.WhichOneof("message") == "request" and about.source.twin:
            self._send_back(error_reply(about, error.code, str(error)))

    def _send_back(self, envelope: Envelope) -> None:
        assert self._sender is not None
        envelope.once = os.urandom(ONCE_BYTES)

        def failed(error: RmbError) -> None:
            event(_LOG, logging.WARNING, "an answer could not be sent", uid=envelope.uid, reason=str(error))

        self._sender.submit(Draft(envelope, arrived=lambda _: None, failed=failed))


class _Stopped(Exception):
    """Leaves the task group and ends all its tasks."""
