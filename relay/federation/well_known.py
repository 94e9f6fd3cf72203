"""Asks a relay for what it publishes in its `/.well-known/rmb`, its key above all, with bounds on time and size.

Which URL a relay has, and whether it may be spoken to, is for `places.py`, as when something is posted to it. This
module refuses to know what is remembered.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from relay.federation.peers import FAILED_S, KeyUnknown
from relay.federation.places import PlaceRefused, Places
from relay.federation.post_speaker import beginning_of

PATH = ".well-known/rmb"
FIELD = "relay_key"

ANSWER_S_MAX = 5.0
"""How long a relay may take, the connection included. A guess; half of what our sender waits for an answer."""

ANSWER_BYTES_MAX = 64 * 1024
"""Ours has less than two thousand bytes."""

_KEY = re.compile(r"[0-9a-f]{64}")
_GONE = (404, 410)


class WellKnown:
    """Fetches keys, and the cards that they are on."""

    def __init__(self, session: aiohttp.ClientSession, places: Places, answer_s_max: float = ANSWER_S_MAX) -> None:
        """Set up.

        Args:
            session: from `post_speaker.open_session`, so that addresses are checked; it is not closed here.
            places: where relays are.
            answer_s_max: see `ANSWER_S_MAX`.
        """
        self._session = session
        self._places = places
        self._answer_s_max = answer_s_max

    async def key(self, name: str) -> bytes:
        """The key that a relay publishes.

        Args:
            name: of the relay, normalised.

        Raises:
            KeyUnknown: it publishes none, must not be asked, or does not answer.
        """
        key = (await self.card(name)).get(FIELD)
        if not (isinstance(key, str) and _KEY.fullmatch(key)):
            raise KeyUnknown(f"the /{PATH} of {name} has no {FIELD}", final=True)
        return bytes.fromhex(key)

    async def card(self, name: str) -> Mapping[str, Any]:
        """Everything that a relay publishes about itself; empty when that makes no sense.

        Args:
            name: of the relay, normalised.

        Raises:
            KeyUnknown: it publishes nothing, must not be asked, or does not answer.
        """
        try:
            url = f"{self._places.url(name).rstrip('/')}/{PATH}"
            status, body = await self._get(url)
        except PlaceRefused as error:
            raise KeyUnknown(str(error), final=True) from None
        except TimeoutError:
            raise _later(f"{name} did not answer within {self._answer_s_max:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a host name that DNS cannot hold
            raise _later(f"{name} cannot be asked for its key: {_short(error)}") from None
        return _read(name, status, body)

    async def _get(self, url: str) -> tuple[int, bytes]:
        async with (
            asyncio.timeout(self._answer_s_max),
            self._session.get(url, headers={"Accept-Encoding": "identity"}, allow_redirects=False) as answer,
        ):
            return answer.status, await beginning_of(answer, ANSWER_BYTES_MAX + 1)  # one more: it is too long


def _read(name: str, status: int, body: bytes) -> Mapping[str, Any]:
    if status in _GONE:
        raise KeyUnknown(f"{name} publishes no /{PATH}", final=True)
    if status != 200:
        raise _later(f"{name} answered {status} when it was asked for its /{PATH}")
    if len(body) > ANSWER_BYTES_MAX:
        raise KeyUnknown(f"the /{PATH} of {name} is longer than {ANSWER_BYTES_MAX} bytes", final=True)
    try:
        card: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        card = None
    return card if isinstance(card, dict) else {}


def _later(text: str) -> KeyUnknown:
    return KeyUnknown(text, final=False, after_s=FAILED_S)


def _short(error: Exception) -> str:
    """What kind of failure, without what a stranger's server said or where a name points to."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its certificate is not valid for it"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is unknown"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    return "it does not answer like a web server"
