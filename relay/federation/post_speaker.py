"""Speaks to one other relay as every relay understands it: one `POST /` per envelope (spec rmb 6.8).

Envelopes for one destination follow each other; several destinations are served side by side. When the relay itself is
the trouble, nothing more is started. This module refuses to know what waits, and what becomes of a refusal.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import orjson
from aiohttp import hdrs

from relay.federation.places import PlaceRefused, Places
from relay.federation.posting import REJECTED, TEXT_CHARS_MAX, outcome_of
from relay.federation.resolver import CheckedResolver
from relay.federation.speaker import Outcome, Queued, Refused, TryAgain
from rmb_peer import __version__
from rmb_peer.protocol.envelope import destination_of, parse_envelope
from rmb_peer.protocol.errors import InvalidPayloadData

BYTES_PER_S = 256 * 1024
"""A large envelope is given time to travel as if on a slow line; a guess."""

BODY_BYTES_MAX = 4 * TEXT_CHARS_MAX
"""Bytes of an answer that are read; a line of text is shorter."""

CARD_BYTES_MAX = 64 * 1024
"""Bytes of `/.well-known/rmb` that are read; ours has less than one thousand."""

CARD_S = 3600.0
"""How long it is believed that a relay is not this one; a guess: names do not move every minute."""

IDLE_S = 75.0
"""How long an idle connection is kept, as relays of ours do."""

FAILURES_MAX = 3
"""Destinations that fail without any success between them, until the whole relay is taken to fail; a guess."""

Sign = Callable[[str, bytes], Mapping[str, str]]
"""Headers that say who posts, from the name of the other relay and the body."""


def open_session(places: Places, connect_s_max: float) -> aiohttp.ClientSession:
    """What posts are made with: connections are kept and shared, and addresses that are not public are refused."""
    connector = aiohttp.TCPConnector(
        resolver=CheckedResolver(places),
        use_dns_cache=False,  # what was checked is what is connected to; the system keeps answers
        keepalive_timeout=IDLE_S,
        limit=0,  # each relay has its own bound
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s_max, connect=2 * connect_s_max),
        headers={hdrs.USER_AGENT: f"rmb-relay/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


class PostSpeaker:
    """`Speaker` by single posts."""

    def __init__(
        self,
        name: str,
        session: aiohttp.ClientSession,
        places: Places,
        *,
        parallel: int,
        answer_s_max: float,
        own_key: str | None = None,
        sign: Sign | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Set up; nothing is sent yet.

        Args:
            name: of the other relay.
            session: from `open_session`; it is not closed here.
            places: where the relay is.
            parallel: posts at once.
            answer_s_max: time for one post.
            own_key: the key that this relay publishes; a relay that publishes the same one is this relay.
            sign: makes headers; `None` for none.
            now_s: Unix seconds.
        """
        self._name = name
        self._session = session
        self._places = places
        self._parallel = parallel
        self._answer_s_max = answer_s_max
        self._own_key = own_key
        self._sign = sign
        self._now_s = now_s
        self._other_until_s = 0.0
        self._failures = 0
        self._trouble: TryAgain | None = None

    async def deliver(self, batch: Sequence[Queued]) -> Sequence[Outcome]:
        """See `Speaker.deliver`."""
        try:
            url = self._places.url(self._name)
        except PlaceRefused as error:
            return [Refused("forbidden", REJECTED + str(error))] * len(batch)
        itself = await self._is_this_relay(url)
        if itself is not None:
            return [itself] * len(batch)
        self._failures, self._trouble = 0, None
        outcomes: dict[str, Outcome] = {}
        lanes = iter(_lanes(batch))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._parallel):
                tasks.create_task(self._work(url, lanes, outcomes))
        later = self._trouble or TryAgain("failing", f"relay {self._name} did not take what came before")
        return [outcomes.get(queued.id, later) for queued in batch]

    async def close(self) -> None:
        """See `Speaker.close`; the session belongs to all."""

    async def _work(self, url: str, lanes: Any, outcomes: dict[str, Outcome]) -> None:
        for lane in lanes:
            for queued in lane:
                if self._trouble is not None:
                    return
                outcome = await self._post(url, queued.data)
                outcomes[queued.id] = outcome
                if isinstance(outcome, TryAgain):
                    self._blame(outcome)
                    break
                self._failures = 0

    def _blame(self, outcome: TryAgain) -> None:
        """An error of the relay may concern one destination only; silence and a plea for rest concern all."""
        self._failures += 1
        if outcome.reason not in ("failing", "garbage") or self._failures >= FAILURES_MAX:
            self._trouble = outcome

    async def _post(self, url: str, data: bytes) -> Outcome:
        headers = dict(self._sign(self._name, data)) if self._sign else {}
        headers[hdrs.CONTENT_TYPE] = "application/octet-stream"
        try:
            async with (
                asyncio.timeout(self._answer_s_max + len(data) / BYTES_PER_S),
                self._session.post(url, data=data, headers=headers, allow_redirects=False) as answer,
            ):
                body = await beginning_of(answer, BODY_BYTES_MAX)
                after = answer.headers.get(hdrs.RETRY_AFTER)
                return outcome_of(self._name, answer.status, body, after, self._now_s())
        except PlaceRefused as error:  # by the resolver
            return Refused("forbidden", REJECTED + str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            return self._failed(error)

    def _failed(self, error: Exception) -> Outcome:
        name = self._name
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return TryAgain("unreachable", f"relay {name} cannot be reached: no connection in time")
        if isinstance(error, TimeoutError):
            return TryAgain("timeout", f"relay {name} did not answer in time")
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return TryAgain("unreachable", f"relay {name} cannot be trusted: its certificate is not valid for it")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return TryAgain("unreachable", f"relay {name} cannot be reached: its name is unknown")
        if isinstance(error, aiohttp.ClientConnectorError):
            return TryAgain(
                "unreachable", f"relay {name} cannot be reached: {error.os_error.strerror or 'no connection'}"
            )
        if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
            return TryAgain("cut", f"relay {name} broke the connection off")
        return TryAgain("garbage", f"relay {name} does not answer like a relay")

    async def _is_this_relay(self, url: str) -> Outcome | None:
        """Names mislead, keys do not: what publishes our key is this relay under a name that it does not know.

        A relay that publishes nothing is not ours; one that does not answer will say so when something is posted.
        """
        if self._own_key is None or self._now_s() < self._other_until_s:
            return None
        try:
            async with (
                asyncio.timeout(self._answer_s_max),
                self._session.get(f"{url.rstrip('/')}/.well-known/rmb", allow_redirects=False) as answer,
            ):
                card: Any = orjson.loads(await beginning_of(answer, CARD_BYTES_MAX)) if answer.status == 200 else {}
        except ValueError:
            card = {}
        except (aiohttp.ClientError, OSError, PlaceRefused):
            return None
        if isinstance(card, dict) and card.get("relay_key") == self._own_key:
            return Refused("itself", f"{REJECTED}{self._name} is this relay itself, under a name that it does not know")
        self._other_until_s = self._now_s() + CARD_S
        return None


def _lanes(batch: Sequence[Queued]) -> list[list[Queued]]:
    """Entries by destination twin, in their order."""
    lanes: dict[int, list[Queued]] = {}
    for queued in batch:
        lanes.setdefault(twin_of(queued.data), []).append(queued)
    return list(lanes.values())


def twin_of(data: bytes) -> int:
    """The destination of an envelope; 0 for what is none."""
    try:
        return destination_of(parse_envelope(data)).twin
    except InvalidPayloadData:
        return 0


async def beginning_of(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The first bytes of a body. One that is longer costs its connection: the rest is not read."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            answer.close()
            break
    return bytes(body[:bytes_max])
