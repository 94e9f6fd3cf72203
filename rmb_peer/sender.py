"""From a filled-in envelope to bytes on their way: look up the receiver, seal, sign, hand to the relays (spec rmb 5.5).

This module refuses to know who wants to send and why; how it ended goes back through the draft's callbacks.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from rmb_peer.journal import Journal
from rmb_peer.large import Aside, in_pieces
from rmb_peer.local.large_json import LightMessage
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, seal_and_sign
from rmb_peer.protocol.errors import (
    BadRequest,
    CannotEncrypt,
    MessageExpired,
    MessageTooLarge,
    OtherError,
    RefusedByRelay,
    RmbError,
    UnknownDestination,
)
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.large_envelope import seal_and_sign_large
from rmb_peer.protocol.lifetime import stamp_envelope
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.lanes import Lanes, Outcome
from rmb_peer.registry.lookup import TwinLookup
from rmb_peer.transport.parcels import Parcel, Reached
from rmb_peer.transport.relay_pool import RelayPool
from rmb_peer.workers.jobs import Result
from rmb_peer.workers.pool import Workers

EXPIRED_TEXT = "response has expired before sending!"
"""For requests too: existing clients know this text (spec rmb 5.4)."""

MAYBE_ARRIVED_TEXT = "message has expired before a relay acknowledged it: it may have arrived"
"""When a connection that then died had carried it."""

LOOKUP_ITEMS_MAX = 10_000
"""Drafts that wait for look-ups. A guess, above what a gateway has under way at once (`upstream`)."""

LOOKUP_BYTES_MAX = 128 * 1024 * 1024
"""Their payloads. A guess, likewise."""


class Hold:
    """What has been made ready and may not happen yet: all of it happens, in order, when the hold is released."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        """Begin holding."""
        self._steps: list[Callable[[], None]] | None = []

    def then(self, step: Callable[[], None]) -> None:
        """Do this after the release; at once if that has been."""
        if self._steps is None:
            step()
        else:
            self._steps.append(step)

    def release(self) -> None:
        """Hold no longer."""
        steps, self._steps = self._steps, None
        for step in steps or ():
            step()


class Draft(NamedTuple):
    """An envelope with everything but source, cipher, stamp and signature.

    Attributes:
        envelope: changed in place when it is sent.
        arrived: called once it is known where it is, with how far that is.
        failed: called instead, with the reason.
        large: where the payload is, when it is large: then the envelope has none.
        hold: until when it may not leave, though it can be made ready.
    """

    envelope: Envelope
    arrived: Callable[[Reached], None]
    failed: Callable[[RmbError], None]
    large: LightMessage | None = None
    hold: Hold | None = None

    @property
    def payload_bytes(self) -> int:
        """How much of it is payload."""
        return len(self.envelope.plain) if self.large is None else len(self.large.text)


class Sender:
    """Sends in the name of one twin."""

    def __init__(
        self,
        *,
        twin_id: int,
        identity: Identity,
        cache: TwinLookup,
        pool: RelayPool,
        tasks: asyncio.TaskGroup,
        wall_clock: Callable[[], float],
        message_bytes_max: int,
        publishes_key: bool = True,
        session: str | None = None,
        journal: Journal | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Set up.

        Args:
            twin_id: our own twin.
            identity: its keys.
            cache: where receivers are looked up.
            pool: the relays.
            tasks: owner of the look-ups.
            wall_clock: Unix seconds.
            message_bytes_max: largest serialised envelope.
            publishes_key: whether our own record shows our encryption key. If it does not, nobody could open what we
                seal, and nothing is sent to twins that want sealed payloads: plain text to them never happens.
            session: of our connections; gateways have none.
            journal: is told what is sealed.
            workers: seal and sign; `None` means here, at once.
        """
        self._workers = workers
        self._journal = journal or Journal()
        self._source = Address(twin_id, session)
        self._identity = identity
        self._pool = pool
        self._wall_clock = wall_clock
        self._message_bytes_max = message_bytes_max
        self._publishes_key = publishes_key
        self._lanes: Lanes[Draft] = Lanes(
            cache, self._known, tasks.create_task, items_max=LOOKUP_ITEMS_MAX, bytes_max=LOOKUP_BYTES_MAX
        )
        self._aside: Aside[tuple[Draft, Outcome]] = Aside(
            tasks.create_task, self._send_large, lambda known: self._send_known(*known)
        )

    def submit(self, draft: Draft) -> None:
        """Send a draft; for each receiver in the order of the calls."""
        self._lanes.submit(draft.envelope.destination.twin, draft, draft.payload_bytes)

    def _known(self, draft: Draft, receiver: Outcome) -> None:
        if draft.large is not None or (self._aside.busy and self._aside.holds(draft.envelope.destination.twin)):
            twin, is_large = draft.envelope.destination.twin, draft.large is not None
            self._aside.put(twin, (draft, receiver), draft.payload_bytes, is_large=is_large)
        else:
            self._send_known(draft, receiver)

    def _send_known(self, draft: Draft, receiver: Outcome) -> None:
        if isinstance(receiver, Twin):
            try:
                now_s = self._prepare(receiver, draft)
                if self._workers is not None:
                    self._seal_elsewhere(self._workers, receiver, draft, now_s)
                    return
                signer, encryption = self._identity.signer, self._identity.encryption
                seal_and_sign(draft.envelope, signer, encryption, receiver.public_key, now_s)
                self._leave(receiver, draft, draft.envelope.SerializeToString())
            except (CannotEncrypt, MessageTooLarge, MessageExpired) as error:
                self._not_sealed(draft, error)
        else:
            draft.failed(receiver or UnknownDestination(draft.envelope.destination.twin))

    async def _send_large(self, known: tuple[Draft, Outcome]) -> None:
        """As `_send_known`: the payload is decoded in pieces, sealed and signed in a thread."""
        draft, receiver = known
        if not isinstance(receiver, Twin):
            self._send_known(draft, receiver)
            return
        try:
            data = await self._large_sealed(receiver, draft)
            if self._workers is not None:
                await self._workers.sealed(receiver.id)  # earlier ones of the conversation
            self._leave(receiver, draft, data)
        except BadRequest as error:
            draft.failed(error)
        except (CannotEncrypt, MessageTooLarge, MessageExpired) as error:
            self._not_sealed(draft, error)

    async def _large_sealed(self, receiver: Twin, draft: Draft) -> bytes:
        assert draft.large is not None
        self._prepare(receiver, draft)
        self._check_size(draft.large.payload_bytes)
        encryption = self._identity.encryption
        cipher = None if receiver.public_key is None else encryption.cipher_to_seal(receiver.public_key)
        plain = bytearray()
        try:
            await in_pieces(draft.large.decoded(plain))
        except ValueError as error:
            raise BadRequest(f"malformed message: `dat` is not standard base64: it {error}") from None
        return await asyncio.to_thread(
            seal_and_sign_large,
            draft.envelope,
            plain,
            self._identity.signer,
            cipher,
            encryption.new_nonce(),
            int(self._wall_clock()),
        )

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._message_bytes_max:
            raise MessageTooLarge(
                f"message of {size_bytes} bytes is too large: relays carry at most {self._message_bytes_max} bytes"
            )

    def _prepare(self, receiver: Twin, draft: Draft) -> int:
        """Fill in the source; returns the time by which the draft is stamped."""
        if receiver.public_key is not None and not self._publishes_key:
            raise CannotEncrypt("our record publishes no key or another one: run once without --no-update")
        self._source.write_to(draft.envelope.source)
        return int(self._wall_clock())

    def _seal_elsewhere(self, workers: Workers, receiver: Twin, draft: Draft, now_s: int) -> None:
        def sealed(result: Result) -> None:
            try:
                if not isinstance(result, bytes):
                    raise result
                self._leave(receiver, draft, result)
            except (CannotEncrypt, MessageTooLarge, MessageExpired) as error:
                self._not_sealed(draft, error)

        stamp_envelope(draft.envelope, now_s)  # the end of its life is read from this one
        workers.seal(receiver.id, draft.envelope, receiver.public_key, now_s, sealed)

    def _not_sealed(self, draft: Draft, error: CannotEncrypt | MessageTooLarge | MessageExpired) -> None:
        draft.failed(OtherError(EXPIRED_TEXT) if isinstance(error, MessageExpired) else error)

    def _leave(self, receiver: Twin, draft: Draft, data: bytes) -> None:
        self._check_size(len(data))
        envelope, sealed = draft.envelope, receiver.public_key is not None
        self._journal.note(envelope.uid, "sealed", twin=receiver.id, encrypted=sealed, bytes=len(data))
        parcel = Parcel(
            data=data,
            expires_at_s=envelope.timestamp + envelope.expiration,
            arrived=draft.arrived,
            refused=lambda why: draft.failed(RefusedByRelay(why.code, why.reason, why.retry_after_ms)),
            expired=lambda tried: draft.failed(OtherError(MAYBE_ARRIVED_TEXT if tried else EXPIRED_TEXT)),
            uid=envelope.uid,
            destination=str(destination_of(envelope)),
            relays=receiver.relays,
        )
        if draft.hold is None:
            self._pool.send(parcel)
        else:
            draft.hold.then(partial(self._pool.send, parcel))
