"""Does a message travel through this relay: one is sent to ourselves, as any client would send it.

The probe opens a real WebSocket to the relay's own port, signs in, sends an envelope to itself, learns from a pong that
it is in the mailbox (`connection`), gets it, and confirms it, so that it is deleted.

It signs in as a twin that no registry has. Its key is made at the start and never leaves memory, so nobody else can
sign in as that twin; sign-in alone knows it (`ProbeLookup`), routing does not, so nobody can write to it, except to the
session that is connected, whose name nobody can guess.
"""

import secrets
from asyncio import timeout
from collections.abc import Callable

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, ClientWSTimeout, WSMsgType
from aiohttp.client_exceptions import WSServerHandshakeError

from rmb_peer.protocol.address import TWIN_ID_MAX, Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from rmb_peer.protocol.errors import RmbError
from rmb_peer.protocol.signatures import make_signer
from rmb_peer.protocol.token import make_token
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.lookup import TwinLookup

PROBE_TWIN = TWIN_ID_MAX
"""Registries count from 1 upwards, and none will come here. Rules about who may sign in have to let it pass."""

PROBE_S_MAX = 5.0
"""Longest time for all of it. A guess: who asks for readiness rarely waits longer."""

_SEED_BYTES = 32
_CLOSE_S_MAX = 1.0
_PING = b"stored?"


class ProbeFailed(Exception):
    """The message did not come through.

    Attributes:
        step: how far it came: connect, sign in, store, deliver, confirm.
    """

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class ProbeIdentity:
    """Who probes.

    Attributes:
        owner: twin and session.
        twin: the record that the token's signature is checked with.
    """

    def __init__(self, seed: bytes | None = None) -> None:
        """Make one up.

        Args:
            seed: 32 bytes; processes that share a port have to share it, since a probe may reach any of them.
        """
        self._signer = make_signer(seed or secrets.token_bytes(_SEED_BYTES), "ed25519")
        self.owner = Address(PROBE_TWIN, f"probe-{secrets.token_hex(16)}")
        self.twin = Twin(PROBE_TWIN, self._signer.account, frozenset(), None)

    def token(self, now_s: int) -> str:
        """What opens the connection."""
        return make_token(self._signer, self.owner, now_s)


class ProbeLookup:
    """Who may sign in: everybody whom the registry knows, and the probe."""

    def __init__(self, registry: TwinLookup, identity: ProbeIdentity) -> None:
        """Wrap a look-up; use it for signing in and nothing else."""
        self._registry = registry
        self._identity = identity
        self.peek = registry.peek

    async def get(self, twin_id: int) -> Twin | None:
        """See `TwinLookup.get`."""
        return self._identity.twin if twin_id == PROBE_TWIN else await self._registry.get(twin_id)


class Probe:
    """Sends probes to one relay, one at a time."""

    def __init__(
        self, identity: ProbeIdentity, url: str, *, now_s: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        """Set up.

        Args:
            identity: who probes.
            url: of the relay, `ws://host:port`; certificates are not looked at, since it is ourselves.
            now_s: Unix seconds.
            clock: monotonic seconds.
        """
        self._identity = identity
        self._url = url
        self._now_s = now_s
        self._clock = clock
        self._step = ""

    async def __call__(self) -> float:
        """Send one through.

        Returns:
            seconds from sending to receiving.

        Raises:
            ProbeFailed: with the step that failed.
        """
        self._step = "connect"
        try:
            async with timeout(PROBE_S_MAX):
                return await self._travel()
        except TimeoutError:
            raise ProbeFailed(self._step, f"not done within {PROBE_S_MAX:g} s") from None
        except WSServerHandshakeError as error:
            raise ProbeFailed("sign in", f"answered with status {error.status}") from None
        except (ClientError, OSError, RmbError) as error:
            raise ProbeFailed(self._step, str(error) or type(error).__name__) from None

    async def _travel(self) -> float:
        url = f"{self._url}/?{self._identity.token(int(self._now_s()))}"
        closing = ClientWSTimeout(ws_close=_CLOSE_S_MAX)
        async with (
            ClientSession() as session,
            session.ws_connect(url, autoping=False, ssl=False, timeout=closing) as ws,
        ):
            self._step = "store"
            envelope = self._envelope()
            began_s = self._clock()
            await ws.send_bytes(envelope.SerializeToString())
            await ws.ping(_PING)
            return await self._back(ws, envelope.uid) - began_s

    def _envelope(self) -> Envelope:
        envelope = Envelope(uid=secrets.token_hex(16), timestamp=int(self._now_s()), expiration=int(PROBE_S_MAX))
        self._identity.owner.write_to(envelope.source)
        self._identity.owner.write_to(envelope.destination)
        envelope.request.command = "relay.probe"
        return envelope

    async def _back(self, ws: ClientWebSocketResponse, uid: str) -> float:
        """Wait until it is stored, received and confirmed, in whichever order we hear of it; when it was received."""
        missing = ["store", "deliver", "confirm"]
        arrived_s = 0.0
        while missing:
            self._step = missing[0]
            message = await ws.receive()
            if message.type is WSMsgType.PONG and message.data == _PING and "store" in missing:
                missing.remove("store")
            elif message.type is WSMsgType.PING:
                await ws.pong(message.data)
                if "deliver" not in missing and "confirm" in missing:
                    missing.remove("confirm")  # TCP keeps the order, so this pong is read before our Close
            elif message.type is WSMsgType.BINARY:
                envelope = parse_envelope(message.data)
                if envelope.uid != uid or "deliver" not in missing:
                    continue  # of an earlier probe, which was not confirmed
                if envelope.WhichOneof("message") == "error":
                    raise ProbeFailed(self._step, envelope.error.message)
                arrived_s = self._clock()
                missing.remove("deliver")
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                why = f"{message.data} {message.extra or ''}".strip()
                raise ProbeFailed(self._step, f"the connection was closed: {why}")
        return arrived_s
