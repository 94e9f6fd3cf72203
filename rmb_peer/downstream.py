"""Wire -> local: the story of what a relay delivers, in the order it happens (spec rmb 2.5, 5.6).

read -> examine -> look up the sender -> verify, decrypt -> command list or `ret` list. Requests that fail are answered;
nothing from the wire is believed before its signature is checked.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from rmb_peer.arrivals import Arrival, examine
from rmb_peer.built_in import answer, is_built_in
from rmb_peer.conclusions import Conclusions
from rmb_peer.journal import Journal
from rmb_peer.large import Aside, in_pieces
from rmb_peer.large_arrivals import verify_and_open
from rmb_peer.local.keys import LIST_ENTRIES_MAX, command_list
from rmb_peer.local.large_json import encoded, with_dat
from rmb_peer.local.messages import incoming_request, incoming_response
from rmb_peer.local.queues import Damaged, DeadLetter, Delivery, Ending, LocalQueues, Outcome, Waiting
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.encryption import EncryptionKey
from rmb_peer.protocol.envelope import (
    Envelope,
    error_reply,
    open_payload,
    parse_envelope,
    source_of,
    verify_envelope,
)
from rmb_peer.protocol.errors import (
    CannotDecrypt,
    ClockSkew,
    InvalidSignature,
    MessageExpired,
    PeerError,
    PeerSideFailure,
    RmbError,
    SenderHasNoPublicKey,
    ServiceQueueFull,
    UnknownSender,
)
from rmb_peer.protocol.large_envelope import LARGE_BYTES, PAYLOAD_FIELDS
from rmb_peer.protocol.large_fields import Cut, cut
from rmb_peer.protocol.names import check_command
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.lanes import Lanes
from rmb_peer.registry.lanes import Outcome as LookupOutcome
from rmb_peer.registry.lookup import TwinLookup
from rmb_peer.remembered import Remembered
from rmb_peer.sender import Draft, Sender
from rmb_peer.transport.inbox import Inbox, Received
from rmb_peer.workers.jobs import Result
from rmb_peer.workers.pool import Workers

BATCH_FRAMES = 256
"""Frames examined before the results are pushed. A guess: as many as one take of the other direction."""

READY_MAX = 2048
"""Verified messages that wait for the store. A guess: several batches."""

READY_BYTES_MAX = 64 * 1024 * 1024
"""Their bytes: four of the largest messages."""

ANSWERS_MAX = 4096
"""Errors and built-in answers that have not left yet. A guess: four windows of a link. Further ones are dropped and
counted, because a relay that only sends could make any number of them."""

ANSWERS_BYTES_MAX = 16 * 1024 * 1024
"""Their bytes: an answer holds the uid and the session that the requester chose."""

RECHECKS_MAX = 1024
"""Messages that wait for a fresh record of their sender. A guess; further ones are refused by the record at hand."""

RECHECKS_BYTES_MAX = 64 * 1024 * 1024
"""Their bytes: four of the largest messages."""

LOOK_UP_PATIENCE_S = 20.0
"""How long a message waits for a registry that is away. A guess: a restart takes less. Together with one last look-up
it is well below the 40 s in which a relay wants its ping answered (spec rmb 5.7, `protocol/held_pongs.py`)."""

LOOKUP_ITEMS_MAX = 10_000
"""Messages that wait for look-ups of their senders. A guess: as many as one service list may hold."""

LOOKUP_BYTES_MAX = 64 * 1024 * 1024
"""Their bytes. A guess: four of the largest messages."""

ANSWERED_MAX = 10_000
"""Marks of built-in requests that are remembered, so that a repeat is not answered twice."""

REFRESHES_MAX = 64
"""Records that are asked for anew at once because their twin could not use what we sent; a guess. Further ones expire
by themselves."""

YIELD_EVERY = 32
"""Frames after which other work gets its turn: verifying this many takes two to three milliseconds."""

DELIVER_AT = 128
"""Verified messages that go to the store although more frames wait to be verified: with an eighth of this, asking the
store took a tenth of a busy gateway's time. At most some milliseconds of delay, while it is busy anyway."""

_STALE_RECORD_CODES = (InvalidSignature.code, CannotDecrypt.code)
_COPY_CODES = (MessageExpired.code, ServiceQueueFull.code)
"""What happens to one copy of a request, and need not happen to the next: neither leaves a mark at the destination."""

_LOG = get_logger("gateway")


EXPIRED_AT_RELAY = "message has expired"
"""What relays say of an envelope whose time ran out while they kept it (spec rmb 6.8). Of several destinations it names
none, and our own deadline names each: passed on it would be one ending too many."""


class RefreshingTwinLookup(TwinLookup, Protocol):
    """The part of the cached registry that receiving uses."""

    async def refresh(self, twin_id: int) -> Twin | None:
        """Ask anew, even if the answer is cached."""
        ...


class _Claimed(NamedTuple):
    """A message as it came: nobody has checked yet whether its source wrote it. `done`: see `Received`."""

    arrival: Arrival
    done: Callable[[], None]
    large: Cut | None = None
    """Where the payload is, when it is large: then the envelope has none."""


class _Verified(NamedTuple):
    """A message that really is from its source, and its payload in clear. `done`: see `Received`."""

    arrival: Arrival
    payload: bytes
    done: Callable[[], None]


class _Allowance:
    """How much of something may be under way."""

    def __init__(self, items_max: int, bytes_max: int) -> None:
        self._items, self._bytes = items_max, bytes_max

    def enter(self, size_bytes: int) -> bool:
        """Whether one more may begin; the last one may exceed the bytes."""
        if self._items <= 0 or self._bytes <= 0:
            return False
        self._change(-1, -size_bytes)
        return True

    def leave(self, size_bytes: int) -> None:
        """One that was let in has ended."""
        self._change(1, size_bytes)

    def _change(self, items: int, size_bytes: int) -> None:
        self._items += items
        self._bytes += size_bytes


class Downstream:
    """Checks what arrives and hands it to local programs.

    Attributes:
        counts: how messages ended, by a short name.
    """

    def __init__(
        self,
        *,
        twin_id: int,
        encryption: EncryptionKey,
        cache: RefreshingTwinLookup,
        inbox: Inbox,
        queues: LocalQueues,
        remembered: Remembered,
        sender: Sender,
        conclusions: Conclusions,
        tasks: asyncio.TaskGroup,
        wall_clock: Callable[[], float],
        journal: Journal | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Set up.

        Args:
            twin_id: our own twin.
            encryption: opens payloads.
            cache: where senders are looked up.
            inbox: frames from the relays.
            queues: the store of the local programs.
            remembered: knows who waits for answers.
            sender: carries errors and built-in answers back.
            conclusions: keeps dead letters.
            tasks: owner of look-ups.
            wall_clock: Unix seconds.
            journal: is told what happens.
            workers: verify and open; `None` means here, at once.
        """
        self._workers = workers
        self.counts: Counter[str] = Counter()
        self._journal = journal or Journal()
        self._expected: dict[str, Callable[[Envelope], None]] = {}
        self._twin_id = twin_id
        self._encryption = encryption
        self._cache = cache
        self._inbox = inbox
        self._queues = queues
        self._remembered = remembered
        self._sender = sender
        self._conclusions = conclusions
        self._tasks = tasks
        self._wall_clock = wall_clock
        self._lanes: Lanes[_Claimed] = Lanes(
            cache,
            self._known,
            tasks.create_task,
            patience_s=LOOK_UP_PATIENCE_S,
            items_max=LOOKUP_ITEMS_MAX,
            bytes_max=LOOKUP_BYTES_MAX,
        )
        self._answers = _Allowance(ANSWERS_MAX, ANSWERS_BYTES_MAX)
        self._rechecks = _Allowance(RECHECKS_MAX, RECHECKS_BYTES_MAX)
        self._aside: Aside[tuple[Twin, _Claimed]] = Aside(
            tasks.create_task, self._large_arrived, lambda known: self._verify_and_add(*known)
        )
        self._batches = 0
        self._batch_ended = asyncio.Event()
        self._ready: deque[_Verified] = deque()
        self._ready_bytes = 0
        self._something_ready = asyncio.Event()
        self._receiving = False
        self._room = asyncio.Event()
        self._room.set()
        self._delivering = False
        self._answered: dict[str, None] = {}
        self._renewals: set[int] = set()

    @property
    def idle(self) -> bool:
        """Whether everything that arrived has been handed on."""
        checking = self._aside.busy or (self._workers is not None and self._workers.opening)
        return not (len(self._inbox) or self._ready or self._lanes.waiting or self._delivering or checking)

    def expect(self, uid: str, answered: Callable[[Envelope], None]) -> None:
        """Hand the answer with this uid, once verified, to the gateway itself instead of a local program."""
        self._expected[uid] = answered

    def expect_no_more(self, uid: str) -> None:
        """Nobody waits for this uid any more."""
        self._expected.pop(uid, None)

    async def run(self) -> None:
        """Receive and deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive())
            tasks.create_task(self._deliver())

    async def _receive(self) -> None:
        while True:
            await self._inbox.wait_filled()
            await self._room.wait()
            if self._workers is not None:
                await self._workers.room()
            if not self._aside.has_room:
                await self._aside.room()
            self._receiving = True  # the results are announced here, many at a time
            for count, frame in enumerate(self._inbox.take(BATCH_FRAMES), 1):
                self._arrived(frame)
                if count % YIELD_EVERY == 0:
                    if len(self._ready) >= DELIVER_AT:
                        self._something_ready.set()
                    await asyncio.sleep(0)
            self._receiving = False
            if self._ready:
                self._something_ready.set()

    def _arrived(self, frame: Received) -> None:
        data, large = frame.data, None
        if len(data) > LARGE_BYTES and (large := cut(data, PAYLOAD_FIELDS)) is not None:
            data = large.rest
        try:
            arrival = examine(data, self._twin_id, int(self._wall_clock()))
        except (MessageExpired, ClockSkew) as error:
            self._refused(error, error.about)
            frame.done()
        except PeerError as error:
            self._refused(error, None)
            frame.done()
        else:
            if _LOG.isEnabledFor(logging.DEBUG):
                event(
                    _LOG,
                    logging.DEBUG,
                    "received",
                    uid=arrival.envelope.uid,
                    source=str(arrival.source),
                    kind=arrival.kind,
                    bytes=arrival.size_bytes,
                )
            if arrival.source.twin:
                self._lanes.submit(arrival.source.twin, _Claimed(arrival, frame.done, large), len(frame.data))
            else:  # an error of the relay: counts only if somebody waits for its uid
                self._add_ready(_Verified(arrival, b"", frame.done))

    def _known(self, claimed: _Claimed, twin: LookupOutcome) -> None:
        arrival = claimed.arrival
        if twin is None:
            self._retry_with_fresh_record(None, claimed, UnknownSender(arrival.source.twin))
        elif isinstance(twin, RegistryUnavailable):
            self.counts["registry unavailable"] += 1
            reason = f"the sender, twin {arrival.source.twin}, could not be looked up: {twin}"
            whole = arrival.envelope.SerializeToString() if claimed.large is None else claimed.large.whole
            letter = DeadLetter("received", whole, reason, arrival.envelope.uid)
            self._conclusions.bury(letter)
            claimed.done()
        elif claimed.large is not None or (self._aside.busy and self._aside.holds(twin.id)):
            size_bytes = arrival.size_bytes if claimed.large is None else len(claimed.large.content)
            self._aside.put(twin.id, (twin, claimed), size_bytes, is_large=claimed.large is not None)
        else:
            self._verify_and_add(twin, claimed)

    def _verify_and_add(self, twin: Twin, claimed: _Claimed) -> None:
        if self._workers is not None:
            self._verify_elsewhere(self._workers, twin, claimed)
            return
        try:
            self._add_ready(self._verify(twin, claimed))
        except (InvalidSignature, CannotDecrypt, SenderHasNoPublicKey) as error:
            self._retry_with_fresh_record(twin, claimed, error)

    async def _large_arrived(self, known: tuple[Twin, _Claimed]) -> None:
        """As the steps for others: verified and opened in a thread, made into JSON in pieces, pushed by itself."""
        twin, claimed = known
        arrival, large = claimed.arrival, claimed.large
        assert large is not None
        try:
            payload = await verify_and_open(arrival.envelope, large, twin, self._encryption)
        except (InvalidSignature, CannotDecrypt, SenderHasNoPublicKey) as error:
            whole = arrival._replace(envelope=parse_envelope(large.whole), size_bytes=len(large.whole))
            self._retry_with_fresh_record(twin, _Claimed(whole, claimed.done), error)
            return
        self._journal.note(arrival.envelope.uid, "received", source=str(arrival.source), kind=arrival.kind)
        if self._workers is not None:
            await self._workers.opened(arrival.source.twin)
        message = _Verified(arrival, b"", claimed.done)
        if arrival.kind == "request":
            light = self._for_service(message)
        else:
            (waiting,) = await self._remembered.recall([arrival.envelope.uid])
            light = self._for_client(message, waiting)
        if light is not None:
            value = await asyncio.to_thread(with_dat, light.value, await in_pieces(encoded(payload)))
            delivery = Delivery(light.list_name, value, light.marks, light.ttl_s, light.ending)
            await self._earlier_ones_handed_over()
            (outcome,) = await self._queues.deliver([delivery])
            self._handed_over(message, delivery, outcome)
        claimed.done()

    async def _earlier_ones_handed_over(self) -> None:
        """Wait for what was verified before this; some of it may be of the same conversation."""
        last = self._batches + bool(self._ready) + self._delivering
        while self._batches < last:
            self._batch_ended.clear()
            await self._batch_ended.wait()

    def _verify_elsewhere(self, workers: Workers, twin: Twin, claimed: _Claimed) -> None:
        def verified(result: Result) -> None:
            if isinstance(result, bytes):
                self._add_ready(_Verified(claimed.arrival, result, claimed.done))
            elif isinstance(result, PeerError):
                self._retry_with_fresh_record(twin, claimed, result)
            else:
                raise result

        workers.open(claimed.arrival.envelope, twin, verified)

    def _verify(self, twin: Twin, claimed: _Claimed) -> _Verified:
        envelope = claimed.arrival.envelope
        verify_envelope(envelope, twin.account)
        return _Verified(claimed.arrival, open_payload(envelope, self._encryption, twin.public_key), claimed.done)

    def _retry_with_fresh_record(self, known: Twin | None, claimed: _Claimed, error: PeerError) -> None:
        """A twin may be new, or have changed its keys: ask once more before giving up (spec rmb 10.10)."""
        if self._rechecks.enter(claimed.arrival.size_bytes):
            self._tasks.create_task(self._try_with_fresh_record(known, claimed, error))
        else:
            self._refused(error, claimed.arrival.envelope)
            claimed.done()

    async def _try_with_fresh_record(self, known: Twin | None, claimed: _Claimed, error: PeerError) -> None:
        arrival = claimed.arrival
        try:
            twin = await self._cache.refresh(arrival.source.twin)
            if twin is None or (known and (twin.account, twin.public_key) == (known.account, known.public_key)):
                raise error
            self._add_ready(self._verify(twin, claimed))
        except PeerError as final:
            self._refused(final, arrival.envelope)
            claimed.done()
        except RegistryUnavailable:
            self._refused(error, arrival.envelope)
            claimed.done()
        finally:
            self._rechecks.leave(arrival.size_bytes)

    def _add_ready(self, verified: _Verified) -> None:
        arrival = verified.arrival
        self._journal.note(arrival.envelope.uid, "received", source=str(arrival.source), kind=arrival.kind)
        self._ready.append(verified)
        self._ready_bytes += verified.arrival.size_bytes
        if len(self._ready) >= READY_MAX or self._ready_bytes >= READY_BYTES_MAX:
            self._room.clear()
            self._something_ready.set()
        elif not self._receiving:
            self._something_ready.set()

    async def _deliver(self) -> None:
        while True:
            await self._something_ready.wait()
            self._something_ready.clear()
            batch, self._ready = list(self._ready), deque()
            self._ready_bytes = 0
            self._room.set()
            self._delivering = True
            await self._hand_over(batch)
            self._delivering = False
            self._batches += 1
            self._batch_ended.set()

    async def _hand_over(self, batch: Sequence[_Verified]) -> None:
        answers = [message for message in batch if message.arrival.kind != "request"]
        if self._expected:
            for message in answers:
                expecting = self._expected.pop(message.arrival.envelope.uid, None)
                if expecting is not None:
                    expecting(message.arrival.envelope)
        waiting = iter(await self._remembered.recall([message.arrival.envelope.uid for message in answers]))
        deliveries: list[tuple[_Verified, Delivery]] = []
        for message in batch:
            if message.arrival.kind == "request":
                delivery = self._for_service(message)
            else:
                delivery = self._for_client(message, next(waiting))
            if delivery is not None:
                deliveries.append((message, delivery))
        outcomes = await self._queues.deliver([delivery for _, delivery in deliveries])
        for (message, delivery), outcome in zip(deliveries, outcomes, strict=True):
            self._handed_over(message, delivery, outcome)
        for message in batch:
            message.done()

    def _for_service(self, message: _Verified) -> Delivery | None:
        arrival, envelope = message.arrival, message.arrival.envelope
        command = envelope.request.command
        try:
            check_command(command)
            if is_built_in(command):
                self._answer_built_in(arrival)
                return None
        except PeerError as error:
            self._refused(error, envelope)
            return None
        value = incoming_request(
            uid=envelope.uid,
            source=arrival.source,
            command=command,
            expiration_s=envelope.expiration,
            payload=message.payload,
            tags=envelope.tags if envelope.HasField("tags") else None,
            schema=envelope.schema if envelope.HasField("schema") else None,
            timestamp_s=envelope.timestamp,
        )
        return Delivery(command_list(command), value, arrival.marks, arrival.ttl_s)

    def _for_client(self, message: _Verified, waiting: Waiting | Damaged | None) -> Delivery | None:
        arrival, envelope = message.arrival, message.arrival.envelope
        if isinstance(waiting, Damaged):
            event(_LOG, logging.ERROR, "damaged record", uid=envelope.uid)
            reason = "the record of who waits for this answer is damaged"
            self._conclusions.bury(DeadLetter("received", envelope.SerializeToString(), reason, envelope.uid))
            return None
        if waiting is None:
            self._drop("received reply of an expired message", arrival)
            return None
        if arrival.source.twin and waiting.destinations and arrival.source.twin not in waiting.destinations:
            self._drop("answer from a twin that was not asked", arrival)
            return None
        is_error = arrival.kind == "error"
        if arrival.source.twin == 0 and len(waiting.destinations) > 1 and envelope.error.message == EXPIRED_AT_RELAY:
            self._drop("one of several copies has expired at a relay: the deadline names it", arrival)
            return None
        if is_error and envelope.error.code in _STALE_RECORD_CODES:
            self._renew_record_of(arrival.source.twin)
        value = incoming_response(
            reference=waiting.reference,
            payload=b"" if is_error else message.payload,
            source=str(arrival.source),
            schema=envelope.schema if envelope.HasField("schema") else None,
            timestamp_s=envelope.timestamp,
            error=(envelope.error.code, envelope.error.message) if is_error else None,
        )
        return Delivery(waiting.reply_to, value, arrival.marks, arrival.ttl_s, _ending(waiting, arrival))

    def _renew_record_of(self, twin_id: int) -> None:
        """Its twin could not verify or open our message: perhaps it has another key by now (spec rmb 10.10).

        The message is gone; the next one to this twin is sealed with the key that it has now.
        """
        if twin_id and len(self._renewals) < REFRESHES_MAX and twin_id not in self._renewals:
            self._renewals.add(twin_id)
            self._tasks.create_task(self._renew(twin_id))

    async def _renew(self, twin_id: int) -> None:
        try:
            await self._cache.refresh(twin_id)
        except RegistryUnavailable as error:
            event(_LOG, logging.DEBUG, "a record could not be renewed", twin=twin_id, reason=str(error))
        finally:
            self._renewals.discard(twin_id)

    def _handed_over(self, message: _Verified, delivery: Delivery, outcome: Outcome) -> None:
        arrival, envelope = message.arrival, message.arrival.envelope
        self.counts[outcome.value] += 1
        source = str(arrival.source)
        if outcome is Outcome.DELIVERED:
            if _LOG.isEnabledFor(logging.DEBUG):
                event(_LOG, logging.DEBUG, "delivered", uid=envelope.uid, list=delivery.list_name)
            code = {"request": "queued", "response": "answered"}.get(arrival.kind, "answered-error")
            error = {"code": envelope.error.code, "text": envelope.error.message} if arrival.kind == "error" else {}
            self._journal.note(envelope.uid, code, source=source, list=delivery.list_name, **error)
        elif outcome is Outcome.REPEATED:
            event(_LOG, logging.DEBUG, "repeat recognised", uid=envelope.uid, source=source)
            self._journal.note(envelope.uid, "repeated", source=source)
        elif outcome in (Outcome.LATE, Outcome.GONE):
            event(_LOG, logging.DEBUG, "nobody waits for this answer any more", uid=envelope.uid, source=source)
            self._journal.note(envelope.uid, "late", source=source)
        else:
            reason = f"the list {delivery.list_name!r} could not take the {arrival.kind}: {outcome.value}"
            self._journal.note(envelope.uid, "not-queued", source=source, list=delivery.list_name, why=reason)
            letter = DeadLetter("received", delivery.value, reason, envelope.uid, delivery.list_name)
            self._conclusions.bury(letter)
            if arrival.kind == "request":
                self._refused(_why_not_queued(envelope.request.command, outcome), envelope)

    def _answer_built_in(self, arrival: Arrival) -> None:
        if any(mark in self._answered for mark in arrival.marks):
            return
        self._answered.update(dict.fromkeys(arrival.marks))
        while len(self._answered) > ANSWERED_MAX:
            del self._answered[next(iter(self._answered))]
        self._send_back(answer(arrival.envelope))

    def _refused(self, error: PeerError, about: Envelope | None) -> None:
        """Count a failure, and answer it when it concerns a request (spec rmb 5.9)."""
        self.counts[type(error).__name__] += 1
        event(_LOG, logging.DEBUG, "refused", uid=about.uid if about else None, code=error.code, reason=str(error))
        if about is not None:
            source = str(source_of(about))
            self._journal.note(about.uid, "refused", source=source, code=error.code, why=str(error))
        if about is not None and about.WhichOneof("message") == "request" and about.source.twin:
            self._send_back(error_reply(about, error.code, str(error)))

    def _send_back(self, envelope: Envelope) -> None:
        size_bytes = envelope.ByteSize()
        if not self._answers.enter(size_bytes):
            self.counts["answer dropped"] += 1
            return
        self._sender.submit(
            Draft(
                envelope,
                arrived=lambda reached: self._answers.leave(size_bytes),
                failed=lambda error: self._not_sent_back(error, size_bytes),
            )
        )

    def _not_sent_back(self, error: RmbError, size_bytes: int) -> None:
        self._answers.leave(size_bytes)
        self.counts["answer not sent"] += 1
        event(_LOG, logging.DEBUG, "an answer could not be sent", reason=str(error))

    def _drop(self, text: str, arrival: Arrival) -> None:
        self.counts[text] += 1
        event(_LOG, logging.DEBUG, text, uid=arrival.envelope.uid, source=str(arrival.source))


def _ending(waiting: Waiting, arrival: Arrival) -> Ending | None:
    """Whose part in a request an answer ends. A relay's error names no destination, so it ends only a single one.

    What a relay says, and "expired" or "queue is full" from the other gateway, count like our own deadline, only while
    nothing else has come: they may be about one copy of a request while its service has another, so that an answer
    comes as well.
    """
    source = arrival.source.twin
    if source == 0 and len(waiting.destinations) != 1:
        return None
    of_a_copy = source == 0 or (arrival.kind == "error" and arrival.envelope.error.code in _COPY_CODES)
    return Ending.of(waiting, source or waiting.destinations[0], ours=of_a_copy)


def _why_not_queued(command: str, outcome: Outcome) -> PeerError:
    if outcome is Outcome.FULL:
        return ServiceQueueFull(command, LIST_ENTRIES_MAX)
    return PeerSideFailure("the request could not be queued for its service")
