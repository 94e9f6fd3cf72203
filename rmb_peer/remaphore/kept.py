"""Messages that are kept for receivers who come late (`--durable`), in a JetStream key-value bucket.

What is kept are the signed bytes themselves, so the store need not be trusted with anything but time: a message counts
as fresh if its own time fits the moment at which the server stored it, and as kept if that is not longer ago than the
retention.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats.errors
import nats.js.errors
from nats.js.api import KeyValueConfig
from nats.js.kv import KeyValue

from rmb_peer.remaphore.core import durations, subjects
from rmb_peer.remaphore.core.durations import NS_PER_S
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.core.wire import Message
from rmb_peer.remaphore.links import Connection, LinkError

DEFAULT_RETENTION_NS = 24 * 3600 * NS_PER_S
"""A guess: a night and a day."""
FOR_EVER_NS = 2**62
"""A bucket without a limit, made by somebody else."""
BUCKET_BYTES_MAX = 256 * 1024 * 1024
"""A guess; a full bucket refuses new messages, so that nobody takes a lost one for a kept one."""
JETSTREAM_S = 5.0

_PURPOSE = "kept"
T = TypeVar("T")


async def ask(connection: Connection, call: Awaitable[T]) -> T:
    """Await a call of JetStream.

    Raises:
        LinkError: JetStream is missing, refuses, or does not answer.
        Lost: the connection has ended.
        nats.js.errors.KeyWrongLastSequenceError, KeyNotFoundError, BucketNotFoundError: for the caller to understand.
    """
    try:
        return await connection.or_lost(call)
    except (nats.js.errors.KeyWrongLastSequenceError, nats.js.errors.KeyNotFoundError):
        raise
    except nats.js.errors.BucketNotFoundError:
        raise
    except (
        nats.errors.NoRespondersError,
        nats.js.errors.ServiceUnavailableError,
        nats.js.errors.NoStreamResponseError,
    ):
        raise LinkError("JetStream is not available on this server: --durable, wait and lock need it") from None
    except nats.js.errors.APIError as error:
        raise LinkError(f"JetStream: {error.description or error}") from None
    except nats.errors.Error as error:
        raise LinkError(f"JetStream: {error}") from None


async def open_bucket(connection: Connection, config: KeyValueConfig) -> KeyValue:
    """Open a bucket, or make it; an existing one keeps the limits it was made with.

    Raises:
        LinkError, Lost: as `ask`.
    """
    stream = connection.client.jetstream(timeout=JETSTREAM_S)
    try:
        return await ask(connection, stream.key_value(config.bucket))
    except nats.js.errors.BucketNotFoundError:
        pass
    try:
        return await ask(connection, stream.create_key_value(config))
    except LinkError:
        try:  # perhaps somebody else has just made it, with other limits
            return await ask(connection, stream.key_value(config.bucket))
        except nats.js.errors.BucketNotFoundError:
            pass
        raise


class Kept:
    """The bucket of one root subject, seen through one connection."""

    def __init__(self, connection: Connection, bucket: KeyValue, kept_ns: int, wanted_ns: int) -> None:
        """Use `open`."""
        self._connection = connection
        self._bucket = bucket
        self._kept_ns = kept_ns
        self._wanted_ns = wanted_ns

    @property
    def retention_ns(self) -> int:
        """How far a receiver looks back."""
        return min(self._wanted_ns or self._kept_ns, self._kept_ns)

    @classmethod
    async def open(cls, connection: Connection, settings: Settings, retention_ns: int) -> "Kept":
        """Open the bucket, or make it.

        Args:
            connection: to a server with JetStream.
            settings: for the root subject.
            retention_ns: how long messages are kept if the bucket is made now; how far a receiver looks back. 0 for the
                default, or for what the bucket has.

        Raises:
            LinkError, Lost: as `ask`.
        """
        config = KeyValueConfig(
            bucket=subjects.bucket(settings.subject, _PURPOSE),
            history=1,
            ttl=durations.seconds(retention_ns or DEFAULT_RETENTION_NS),
            max_bytes=BUCKET_BYTES_MAX,
        )
        bucket = await open_bucket(connection, config)
        has_s = (await ask(connection, bucket.status())).ttl or 0
        return cls(connection, bucket, int(has_s * NS_PER_S) or FOR_EVER_NS, retention_ns)

    async def keep(self, on_subject: str, message: Message, encoded: bytes) -> None:
        """Store a message; when this returns the server has it on disk.

        Raises:
            LinkError: also when the bucket was made to keep messages for a shorter time than is wanted now.
            Lost: as `ask`.
        """
        if self._wanted_ns > self._kept_ns:
            wanted, has = durations.show(self._wanted_ns), durations.show(self._kept_ns)
            name = (await ask(self._connection, self._bucket.status())).bucket
            raise LinkError(
                f"cannot keep for {wanted}: the bucket {name} was made for {has}; ask for less, or delete it"
            )
        await ask(self._connection, self._bucket.put(subjects.kept_key(on_subject, message, encoded), encoded))

    async def claim(self, scope: bytes, encoded: bytes) -> bool:
        """Mark a message as taken by one receiver; whether nobody had done so before.

        Raises:
            LinkError, Lost: as `ask`.
        """
        try:
            await ask(self._connection, self._bucket.create(subjects.claim_key(scope, encoded), b""))
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        return True

    async def follow(
        self, on_subject: str, uuid: bytes, handle: Callable[[bytes, int], None], caught_up: asyncio.Event
    ) -> None:
        """Hand over what is kept and what will be, until cancelled or the connection ends.

        Args:
            on_subject: what the receiver listens to.
            uuid: the rendezvous value, or empty for all.
            handle: gets the bytes and when the server stored them (Unix nanoseconds); must not raise.
            caught_up: set when everything that was kept before has been handed over.

        Raises:
            LinkError, Lost: as `ask`.
        """
        watcher = await ask(self._connection, self._bucket.watch(subjects.kept_filter(on_subject, uuid)))
        while True:
            entry = await self._connection.or_lost(anext(watcher))
            if entry is None:
                caught_up.set()
            elif entry.operation is None and entry.value and entry.created is not None:
                handle(entry.value, int(entry.created.timestamp() * NS_PER_S))
