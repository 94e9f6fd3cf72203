"""Local -> wire: the story of what a program pushed, in the order it happens (spec rmb 5.2, 5.4, 5.5).

take -> read -> remember who waits, and meanwhile seal and sign a draft for each destination -> send -> settle. What
cannot go out is answered on the caller's `ret` list, and kept as a dead letter where nobody could be told or where the
reference is silent.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rmb_peer.conclusions import Conclusions, Ticket
from rmb_peer.deadlines import GRACE_S
from rmb_peer.journal import Journal, named
from rmb_peer.local.large_json import LightMessage, cut_dat
from rmb_peer.local.messages import (
    MalformedMessage,
    OutgoingRequest,
    OutgoingResponse,
    local_error,
    parse_request,
    parse_response,
    relay_error,
)
from rmb_peer.local.queues import DeadLetter, Delivery, Ending, LocalQueues, Taken, Waiting
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of
from rmb_peer.protocol.errors import BadRequest, MessageTooLarge, OtherError, RefusedByRelay, RequestExpired, RmbError
from rmb_peer.protocol.large_envelope import LARGE_BYTES
from rmb_peer.protocol.lifetime import ERROR_LIFETIME_S, RESPONSE_LIFETIME_S, cap, stamp, ttl_s
from rmb_peer.protocol.names import check_command
from rmb_peer.remembered import Remembered
from rmb_peer.sender import Draft, Hold, Sender
from rmb_peer.transport.parcels import Reached
from rmb_peer.uids import once_id, request_uid

TAKE_COUNT = 256
"""Items in one take. A guess: large enough that the round trip does not count, small enough to keep latency low."""

IN_FLIGHT_ENTRIES_MAX = 4096
"""Outbox entries under way at once. A guess: four windows of a link."""

IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024
"""The same in bytes: four of the largest messages."""

TOLD_MARK_TTL_S = 3600
"""How long it is remembered that a caller was told of a failure. A guess, longer than any message lives."""

YIELD_EVERY = 32
"""Messages after which other work gets its turn: signing this many takes one to two milliseconds. They leave in one
frame: with half as many, twice the frames wake relay and receiver (a fifth of what the relay does)."""

_TURNS_UNTIL_WRITTEN = 2
"""Of the event loop, until a command to the store has left: its task begins, then the connection writes."""

_LOG = get_logger("gateway")


@dataclass(slots=True, eq=False)
class _Outgoing:
    """One taken item, ready to be sent: for a request the destination and `once` are still missing."""

    taken: Taken
    request: OutgoingRequest | None
    envelope: Envelope
    explains: bool = False
    """Whether this only says why the real answer does not come."""
    waiting: Waiting | None = None
    """For a request: who waits for it."""
    indices: Sequence[int] = (0,)
    """Which of its messages are made: for a request positions in `dst`."""
    large: LightMessage | None = None
    """Where the payload is, when it is large: then the envelope has none."""


class Upstream:
    """Takes what local programs push and sees it off."""

    def __init__(
        self,
        *,
        queues: LocalQueues,
        remembered: Remembered,
        sender: Sender,
        conclusions: Conclusions,
        uid_key: bytes,
        wall_clock: Callable[[], float],
        message_bytes_max: int,
        journal: Journal | None = None,
    ) -> None:
        """Set up.

        Args:
            queues: the store.
            remembered: is told who waits.
            sender: seals, signs and hands to the relays.
            conclusions: writes how things ended.
            uid_key: see `LocalQueues.uid_key`.
            wall_clock: Unix seconds.
            message_bytes_max: largest serialised envelope.
            journal: is told what happens.
        """
        self._journal = journal or Journal()
        self._queues = queues
        self._remembered = remembered
        self._sender = sender
        self._conclusions = conclusions
        self._uid_key = uid_key
        self._wall_clock = wall_clock
        self._message_bytes_max = message_bytes_max
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def in_flight(self) -> int:
        """Entries taken and not yet ended."""
        return self._in_flight

    async def run(self) -> None:
        """Take and send until cancelled."""
        while True:
            await self._room.wait()
            await self.handle(await self._queues.take(TAKE_COUNT))

    async def handle(self, items: Sequence[Taken]) -> None:
        """Send a batch of taken items."""
        plans = [plan for plan in map(self._read, items) if plan is not None]
        if len(plans) < len(items):
            # What comes before the last remembered entry counts as remembered, so the refusals are written first: a new
            # run would take a refused one for one whose deadline tells.
            await self._conclusions.flush()
        outgoing = await self._still_open(plans)
        requests = [plan.waiting for plan in outgoing if plan.waiting is not None and not plan.taken.remembered]
        if not requests:
            await self._submit(outgoing)
            return
        # Nothing leaves, and nobody is told, before it is written down who waits. But sealing and signing need not wait
        # for that: they take about as long as the store does, and a gateway that does not sleep stays in the caches.
        hold = Hold()
        remembering = asyncio.create_task(self._remember(requests, hold))
        try:
            for _ in range(_TURNS_UNTIL_WRITTEN):
                await asyncio.sleep(0)
            await self._submit(outgoing, hold, remembering)
            await remembering
        finally:
            remembering.cancel()

    async def _submit(
        self,
        outgoing: Sequence[_Outgoing],
        hold: Hold | None = None,
        remembering: asyncio.Task[None] | None = None,
    ) -> None:
        count = 0
        for plan in outgoing:
            held = None if plan.waiting is None or plan.taken.remembered else hold
            ticket = Ticket(plan.taken.entry, len(plan.indices), self._conclusions)
            for index in plan.indices:
                if not self._room.is_set():  # each is made when there is room: `dst` may be long, and the payload too
                    if remembering is not None:
                        await remembering  # what is held takes room until then; and raises if it fails
                    await self._room.wait()
                self._send(plan, ticket, index, held)
                count += 1
                if count % YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    async def _remember(self, requests: Sequence[Waiting], hold: Hold) -> None:
        """Write down who waits, then let the messages leave."""
        await self._queues.remember(requests)
        self._remembered.keep(requests)
        hold.release()

    async def _still_open(self, outgoing: list[_Outgoing]) -> list[_Outgoing]:
        """Of what an earlier run remembered only send what is open."""
        again = [(plan, plan.waiting) for plan in outgoing if plan.taken.remembered and plan.waiting is not None]
        if not again:
            return outgoing
        still_open = await self._queues.still_open([waiting for _, waiting in again])
        for (plan, waiting), twins in zip(again, still_open, strict=True):
            plan.indices = [index for index, twin in enumerate(waiting.destinations) if twin in twins]
        self._conclusions.settle(plan.taken.entry for plan, _ in again if not plan.indices)
        return [plan for plan in outgoing if plan.indices]

    def _read(self, taken: Taken) -> _Outgoing | None:
        try:
            if taken.kind == "request":
                return self._read_request(taken)
            return self._read_response(taken)
        except MalformedMessage as error:
            if error.responds_to is None or error.responds_to[0].twin == 0:
                self._refuse(taken, error, error.reply_to, error.reference)
                return None
            receiver, uid = error.responds_to
            self._conclusions.bury(DeadLetter(taken.kind, taken.raw, str(error), uid))
            self._journal.note(uid, "refused", code=error.code, why=str(error))
            return self._explanation(taken, receiver, uid, OtherError(f"the service's answer was unusable: {error}"))

    def _read_request(self, taken: Taken) -> _Outgoing | None:
        large = cut_dat(taken.raw) if len(taken.raw) > LARGE_BYTES else None
        request = parse_request(taken.raw if large is None else large.light)
        uid = request_uid(self._uid_key, taken.entry)
        if _LOG.isEnabledFor(logging.DEBUG):
            event(
                _LOG,
                logging.DEBUG,
                "taken",
                uid=uid,
                ref=request.reference,
                command=request.command,
                destinations=list(request.destinations),
            )
        self._journal.note(
            uid,
            "taken" if taken.found_since_s is None else "resumed",
            ref=request.reference,
            cmd=request.command,
            dst=named(request.destinations),
            ret=request.reply_to,
        )
        try:
            check_command(request.command)
            self._check_size(len(request.payload) if large is None else large.payload_bytes)
            base = self._request_envelope(request, uid, request.now_s or taken.found_since_s or 0)
        except RmbError as error:
            if isinstance(error, RequestExpired) and taken.remembered:
                self._conclusions.settle((taken.entry,))  # its deadline tells of those that are silent
            elif isinstance(error, RequestExpired) and taken.found_since_s is not None:
                # An earlier run may have told of some destinations already: the same marks, so that nobody hears twice.
                for index in range(len(request.destinations)):
                    self._tell(request.reply_to, request.reference, error, _told_mark(taken, index))
                self._refuse(taken, error, None, None)
            else:
                self._refuse(taken, error, request.reply_to, request.reference)
            return None
        expiration_s = base.expiration
        waiting = Waiting(
            uid=uid,
            reference=request.reference,
            reply_to=request.reply_to,
            ttl_s=expiration_s,
            destinations=request.destinations,
            deadline_s=base.timestamp + expiration_s + GRACE_S,
            entry=taken.entry,
        )
        return _Outgoing(taken, request, base, waiting=waiting, indices=range(len(request.destinations)), large=large)

    def _request_envelope(self, request: OutgoingRequest, uid: str, began_s: int) -> Envelope:
        now_s = int(self._wall_clock())
        timestamp, expiration = stamp(began_s, request.expiration_s, now_s)
        if ttl_s(timestamp, expiration, now_s) is None:
            hint = "`exp` is 0" if request.expiration_s == 0 else "`now` + `exp` has passed"
            raise RequestExpired(f"request has expired: {hint}; give the lifetime in seconds")
        envelope = Envelope(
            uid=uid,
            tags=request.tags,
            timestamp=timestamp,
            expiration=cap(expiration),
            schema=request.schema,
            plain=request.payload,
        )
        envelope.request.command = request.command
        return envelope

    def _read_response(self, taken: Taken) -> _Outgoing | None:
        large = cut_dat(taken.raw) if len(taken.raw) > LARGE_BYTES else None
        response = parse_response(taken.raw if large is None else large.light)
        if response.error is not None:
            large = None  # then the payload does not count
        receiver = response.destination.twin
        if _LOG.isEnabledFor(logging.DEBUG):
            event(_LOG, logging.DEBUG, "taken", uid=response.uid, destinations=[receiver])
        self._journal.note(
            response.uid,
            "reply-taken" if taken.found_since_s is None else "resumed",
            twin=receiver,
            err=response.error[0] if response.error else None,
        )
        try:
            envelope = self._response_envelope(response, once_id(self._uid_key, taken.entry, 0))
        except RmbError as error:
            self._refuse(taken, error, None, None)
            return None
        return _Outgoing(taken, None, envelope, large=large)

    def _response_envelope(self, response: OutgoingResponse, once: bytes) -> Envelope:
        if response.destination.twin == 0:
            raise BadRequest("twin 0 is nobody: `dst` must be the `src` of the request")
        now_s = int(self._wall_clock())
        timestamp, expiration = stamp(response.now_s, cap(RESPONSE_LIFETIME_S), now_s)
        if ttl_s(timestamp, expiration, now_s) is None:
            raise RequestExpired(f"response has expired: it is older than {cap(RESPONSE_LIFETIME_S)} seconds")
        envelope = Envelope(
            uid=response.uid, timestamp=timestamp, expiration=expiration, schema=response.schema, once=once
        )
        response.destination.write_to(envelope.destination)
        if response.error is None:
            envelope.response.SetInParent()
            envelope.plain = response.payload
        else:
            envelope.error.code, envelope.error.message = response.error
        return envelope

    def _check_size(self, payload_bytes: int) -> None:
        if payload_bytes > self._message_bytes_max:
            raise MessageTooLarge(
                f"payload of {payload_bytes} bytes is too large: relays carry at most {self._message_bytes_max} bytes"
            )

    def _send(self, plan: _Outgoing, ticket: Ticket, index: int, hold: Hold | None) -> None:
        envelope = plan.envelope
        if plan.request is not None:
            if len(plan.indices) > 1:
                envelope = Envelope()
                envelope.CopyFrom(plan.envelope)
            envelope.destination.twin = plan.request.destinations[index]
            envelope.once = once_id(self._uid_key, plan.taken.entry, index)
        self._count(1, len(plan.taken.raw))
        self._sender.submit(
            Draft(
                envelope,
                arrived=lambda reached: self._arrived(plan, ticket, envelope, reached),
                failed=lambda error: self._failed_after(hold, plan, ticket, index, error),
                large=plan.large,
                hold=hold,
            )
        )

    def _arrived(self, plan: _Outgoing, ticket: Ticket, envelope: Envelope, reached: Reached) -> None:
        """It is known where the message is; this is the place that knows both the message and how far it has come."""
        self._journal.note(envelope.uid, reached.value, twin=envelope.destination.twin)
        self._ended(plan, ticket)

    def _failed_after(self, hold: Hold | None, plan: _Outgoing, ticket: Ticket, index: int, error: RmbError) -> None:
        if hold is None:
            self._failed(plan, ticket, index, error)
        else:
            hold.then(partial(self._failed, plan, ticket, index, error))

    def _failed(self, plan: _Outgoing, ticket: Ticket, index: int, error: RmbError) -> None:
        twin = plan.envelope.destination.twin if plan.request is None else plan.request.destinations[index]
        self._journal.note(plan.envelope.uid, "not-sent", twin=twin, code=error.code, why=str(error))
        if plan.waiting is not None:
            if isinstance(error, BadRequest):  # found out late, because the payload is large; else as in `_refuse`
                self._conclusions.bury(DeadLetter(plan.taken.kind, plan.taken.raw, str(error), plan.envelope.uid))
            self._tell_of(plan.waiting, twin, error)
        else:
            self._conclusions.bury(DeadLetter(plan.taken.kind, plan.taken.raw, str(error), plan.envelope.uid))
            if isinstance(error, MessageTooLarge | BadRequest) and not plan.explains:
                receiver, uid = destination_of(plan.envelope), plan.envelope.uid
                problem = (
                    MessageTooLarge(f"the service's answer was too large: {error}")
                    if isinstance(error, MessageTooLarge)
                    else OtherError(f"the service's answer was unusable: {error}")
                )
                self._count(-1, -len(plan.taken.raw))
                self._send(self._explanation(plan.taken, receiver, uid, problem), ticket, index, None)
                return
        self._ended(plan, ticket)

    def _ended(self, plan: _Outgoing, ticket: Ticket) -> None:
        self._count(-1, -len(plan.taken.raw))
        ticket.one_ended()

    def _count(self, entries: int, size_bytes: int) -> None:
        self._in_flight += entries
        self._in_flight_bytes += size_bytes
        if self._in_flight < IN_FLIGHT_ENTRIES_MAX and self._in_flight_bytes < IN_FLIGHT_BYTES_MAX:
            self._room.set()
        else:
            self._room.clear()

    def _refuse(self, taken: Taken, error: RmbError, reply_to: str | None, reference: str | None) -> None:
        if reply_to is not None:
            self._tell(reply_to, reference, error, f"told:{taken.entry}")
        uid = self._uid_of(taken)
        self._journal.note(uid, "refused", ref=reference, code=error.code, why=str(error))
        self._conclusions.bury(DeadLetter(taken.kind, taken.raw, str(error), uid))
        self._conclusions.settle((taken.entry,))

    def _uid_of(self, taken: Taken) -> str:
        """The uid by which people ask for it; empty where a service's answer names none."""
        if taken.kind == "request":
            return request_uid(self._uid_key, taken.entry)
        try:
            return parse_response(taken.raw).uid
        except MalformedMessage:
            return ""

    def _tell_of(self, waiting: Waiting, twin: int, error: RmbError) -> None:
        """Tell of one destination, unless it has ended already."""
        event(_LOG, logging.DEBUG, "told", list=waiting.reply_to, code=error.code, reason=str(error))
        value = self._error_value(waiting.reference, error)
        ending = Ending.of(waiting, twin, ours=True)
        self._conclusions.tell(Delivery(waiting.reply_to, value, (), 0, ending))

    def _tell(self, reply_to: str, reference: str | None, error: RmbError, mark: str) -> None:
        event(_LOG, logging.DEBUG, "told", list=reply_to, code=error.code, reason=str(error))
        value = self._error_value(reference, error)
        self._conclusions.tell(Delivery(reply_to, value, (mark,), TOLD_MARK_TTL_S))

    def _error_value(self, reference: str | None, error: RmbError) -> bytes:
        if isinstance(error, RefusedByRelay):
            return relay_error(reference, error.code, str(error), int(self._wall_clock()))
        return local_error(reference, error.code, str(error))

    def _explanation(self, taken: Taken, receiver: Address, uid: str, error: RmbError) -> _Outgoing:
        """In place of an answer that cannot be sent: the requester waits for it and hears why it does not come."""
        envelope = Envelope(uid=uid, expiration=ERROR_LIFETIME_S, once=once_id(self._uid_key, taken.entry, 0))
        receiver.write_to(envelope.destination)
        envelope.error.code, envelope.error.message = error.code, str(error)
        return _Outgoing(taken, None, envelope, explains=True)


def _told_mark(taken: Taken, index: int) -> str:
    """The mark of an error about one of the messages made from an entry."""
    return f"told:{taken.entry}:{index}"
