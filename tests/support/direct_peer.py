"""A peer without a gateway, as the Go and TypeScript SDKs have: it speaks to the relay itself.

It can leave out encryption, its session id, fields and signatures, as third parties do. Written from the specification.
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.challenge import challenge_text
from rmb_peer.protocol.identity import Identity
from rmb_peer.protocol.pb.envelope_pb2 import Envelope
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry
from tests.support.gateways import new_identity

WAIT_S = 60.0


class DirectPeer:
    """One connection of a twin."""

    def __init__(self, twin: Twin, identity: Identity, session: str | None, socket: ClientConnection) -> None:
        self.twin = twin
        self.identity = identity
        self.session = session
        self._socket = socket

    def draft(self, destination: int, session: str | None = None, **fields: Any) -> Envelope:
        """An unsigned envelope from this peer."""
        envelope = Envelope(uid=str(uuid.uuid4()), timestamp=int(time.time()), expiration=60)
        Address(self.twin.id, self.session).write_to(envelope.source)
        Address(destination, session).write_to(envelope.destination)
        for name, value in fields.items():
            setattr(envelope, name, value)
        return envelope

    def sign(self, envelope: Envelope) -> Envelope:
        """Sign by hand: MD5 of the challenge, then the scheme's 65 bytes."""
        digest = hashlib.md5(challenge_text(envelope), usedforsecurity=False).digest()
        envelope.signature = self.identity.signer.sign(digest)
        return envelope

    def request(self, destination: int, command: str, payload: bytes, **fields: Any) -> Envelope:
        """A signed request with a plain payload."""
        envelope = self.draft(destination, plain=payload, schema="application/json", **fields)
        envelope.request.command = command
        return self.sign(envelope)

    def response(self, request: Envelope, payload: bytes) -> Envelope:
        """A signed, plain response to a request."""
        envelope = self.draft(request.source.twin, uid=request.uid, plain=payload, schema="application/json")
        envelope.destination.CopyFrom(request.source)
        envelope.response.SetInParent()
        return self.sign(envelope)

    async def send(self, envelope: Envelope) -> None:
        await self._socket.send(envelope.SerializeToString())

    async def receive(self) -> Envelope:
        frame = await self._receive()
        assert isinstance(frame, bytes)
        return Envelope.FromString(frame)

    async def _receive(self) -> str | bytes:
        async with asyncio.timeout(WAIT_S):
            return await self._socket.recv()


@asynccontextmanager
async def direct_peer(
    registry: Registry,
    relay_url: str,
    *,
    relay_names: tuple[str, ...] = ("localhost",),
    session: str | None = None,
    encrypted: bool = False,
    identity: Identity | None = None,
) -> AsyncIterator[DirectPeer]:
    """A connected peer; by default it publishes no encryption key."""
    identity = identity or new_identity()
    twin = await registry.put(identity.signer, frozenset(relay_names), identity.public_key if encrypted else None)
    token = make_token(identity.signer, Address(twin.id, session), int(time.time()))
    async with connect(f"{relay_url}?{token}", compression=None, max_size=None, ping_interval=None) as socket:
        yield DirectPeer(twin, identity, session, socket)
