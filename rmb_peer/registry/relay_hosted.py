"""The registry that a relay hosts, as its clients see it (schemas/registry.openapi.yaml).

Nothing the host says is believed unproven: every record must be signed by its own account, have the id that was asked
for, and not be older than one seen before. What a host can still do is listed in DESIGN.md.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin, sign_twin
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.claim import Claim
from rmb_peer.registry.http import CONNECT_S_MAX, TOTAL_S_MAX, JsonClient, Reply
from rmb_peer.registry.pins import Dishonest, Pins
from rmb_peer.registry.urls import parse_registry_url

POLL_S = 5.0
"""How often `watch` asks for changes; a guess: soon enough for people, one small request for the host."""

POLL_S_MAX = 60.0
"""The same while the host does not answer, after doubling each time."""

_BATCH = 500
_BATCH_BYTES_MAX = 1024 * 1024  # 500 records of the greatest size take about 750 KiB
_OK = (200, 201)
_CONFLICT = 409
_AGAIN_LATER = (408, 425, 429)  # the statuses of 4xx that mean "not now"
_LOG = get_logger("registry")


class RelayHostedRegistry:
    """A client of `/registry/v1`.

    Reads raise `RegistryUnavailable` for whatever is no usable answer, as the contract says; `put` also
    `RegistryRefused`, with the host's own words.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_s: float = CONNECT_S_MAX,
        total_s: float = TOTAL_S_MAX,
        poll_s: float = POLL_S,
    ) -> None:
        """Nothing is opened before the first request.

        Raises:
            BadRequest: `url` is not `http(s)://host[:port][/registry/v1]`.
        """
        parsed = parse_registry_url(url)
        self._audience = parsed.audience
        self._http = JsonClient(parsed.base, connect_s=connect_s, total_s=total_s)
        self._poll_s = poll_s
        self._pins = Pins()
        self._putting = asyncio.Lock()

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when the host knows none.

        Raises:
            RegistryUnavailable: no answer, or one that is not proven.
        """
        if not 1 <= twin_id <= TWIN_ID_MAX:
            return None
        knowing = self._pins.version(twin_id)
        body = await self._read(f"/twins/{twin_id}")
        if body is None:
            return None
        record = self._parse(body)
        if record.twin.id != twin_id:
            raise self._dishonest(f"asked for twin {twin_id}, it served the record of twin {record.twin.id}")
        return self._check(record, asked_knowing=knowing)

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account; `None` when the host knows none.

        Raises:
            RegistryUnavailable: no answer, or one that is not proven.
        """
        body = await self._read(f"/accounts/{account.hex()}")
        if body is None:
            return None
        record = self._parse(body)
        if record.twin.account != account:
            raise self._dishonest(f"asked for account {account.hex()}, it served another one's record")
        return self._check(record)

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this; an equal record is left alone.

        Raises:
            RegistryUnavailable: no answer.
            RegistryRefused: the host says no; the text holds its words.
        """
        async with self._putting:
            twin = await self._put_once(signer, relays, public_key)
            if twin is None:  # somebody else wrote in between: read again, once
                twin = await self._put_once(signer, relays, public_key)
        if twin is None:
            raise RegistryRefused(
                "another program with the same key keeps changing this twin's record: give each its own key"
            )
        return twin

    async def watch(self) -> AsyncIterator[Twin]:
        """Records that change from now on, as the host tells them; never ends by itself."""
        feed: str | None = None
        after: int | None = None
        pause_s = self._poll_s
        while True:
            try:
                name, following, records = await self._changes(after)
            except RegistryUnavailable as error:
                if pause_s == self._poll_s:
                    event(_LOG, logging.WARNING, "changes of twins cannot be read", reason=error.detail)
                pause_s = min(2 * pause_s, max(self._poll_s, POLL_S_MAX))
                await asyncio.sleep(pause_s)
                continue
            pause_s = self._poll_s
            if feed not in (None, name):  # the host's numbering began anew: hear everything
                feed, after = name, 0
                continue
            feed, after = name, following
            for record in records:
                try:
                    twin = self._check(self._parse(record), remember=False)
                except RegistryUnavailable:
                    continue  # logged; the others may be good
                yield twin
            if len(records) < _BATCH:
                await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Close the connections. Closing twice is harmless."""
        await self._http.close()

    async def _put_once(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin | None:
        """One try; `None` when the record changed while we wrote."""
        now = await self.get_by_account(signer.account)
        if now is not None and (now.relays, now.public_key) == (relays, public_key):
            return now
        twin_id = now.id if now is not None else await self._claim(signer)
        version = 1 + max(now.version if now is not None else 0, self._pins.version(twin_id))
        if version > VERSION_MAX:
            raise RegistryRefused(f"the record of twin {twin_id} has the last version there is: use a new key")
        record = sign_twin(Twin(twin_id, signer.account, relays, public_key, version), signer)
        reply = await self._http.request("PUT", f"/twins/{twin_id}", body=record.to_json())
        if reply.status == _CONFLICT:
            return None
        self._accepted(reply)
        return self._check(record)

    async def _claim(self, signer: Signer) -> int:
        claim = Claim.make(signer, self._audience)
        reply = await self._http.request("POST", "/twins", body=claim.to_json())
        self._accepted(reply)
        twin_id = reply.body.get("id") if isinstance(reply.body, dict) else None
        if type(twin_id) is not int or not 1 <= twin_id <= TWIN_ID_MAX:
            raise self._unusable(reply)
        return twin_id

    async def _changes(self, after: int | None) -> tuple[str, int, list[Any]]:
        query = {"limit": str(_BATCH)} if after is None else {"after": str(after), "limit": str(_BATCH)}
        body = await self._read("/changes", query, _BATCH_BYTES_MAX)
        match body:
            case {"feed": str(feed), "next": int(following), "twins": list(twins)} if len(twins) <= _BATCH:
                return feed, following, twins
        raise RegistryUnavailable(f"{self._http.base} offers no changes of twins")

    async def _read(self, path: str, query: dict[str, str] | None = None, bytes_max: int = 64 * 1024) -> Any:
        """The body of an answer to GET; `None` when the host says that there is no such thing."""
        reply = await self._http.request("GET", path, query=query, answer_bytes_max=bytes_max)
        if reply.status == 404 and isinstance(reply.body, dict) and reply.body.get("absent") is True:
            return None  # any other 404 comes from a server that is no registry
        if reply.status != 200:
            raise self._unusable(reply)
        return reply.body

    def _accepted(self, reply: Reply) -> None:
        if reply.status in _OK:
            return
        if 400 <= reply.status < 500 and reply.status not in _AGAIN_LATER and reply.error is not None:
            raise RegistryRefused(f"{self._http.base} refused: {reply.error}")
        raise self._unusable(reply)

    def _unusable(self, reply: Reply) -> RegistryUnavailable:
        words = reply.error or "no registry seems to be there: check its URL"
        return RegistryUnavailable(f"{self._http.base} answered {reply.status}: {words}")

    def _parse(self, value: Any) -> SignedTwin:
        try:
            return SignedTwin.from_json(value)
        except BadRequest as error:
            raise self._dishonest(f"a record cannot be read: {error}") from None

    def _check(self, record: SignedTwin, *, asked_knowing: int | None = None, remember: bool = True) -> Twin:
        try:
            return self._pins.check(record, asked_knowing=asked_knowing, remember=remember)
        except Dishonest as error:
            raise self._dishonest(str(error)) from None

    def _dishonest(self, reason: str) -> RegistryUnavailable:
        event(_LOG, logging.ERROR, "the registry's answer is refused", registry=self._http.base, reason=reason)
        return RegistryUnavailable(f"an answer of {self._http.base} is refused: {reason}")
