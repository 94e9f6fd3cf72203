"""JSON over HTTP with limits on time and size. It refuses to know what is asked."""

import logging
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from rmb_peer.logs import event, get_logger
from rmb_peer.registry.base import RegistryUnavailable

CONNECT_S_MAX = 5.0
"""Longest wait for a connection; several times a round trip around the world."""

TOTAL_S_MAX = 10.0
"""Longest wait for a whole answer; a guess, below the patience of someone who calls."""

CONNECTIONS_MAX = 100
"""Connections to one server at once; further requests wait for one of them."""

ANSWER_BYTES_MAX = 64 * 1024
"""A single record takes about 1.5 KiB at most."""

_TEXT_CHARS_MAX = 300
_LOG = get_logger("registry")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: HTTP status.
        body: the JSON it carried; `None` when it carried none.
    """

    status: int
    body: Any

    @property
    def error(self) -> str | None:
        """The server's own words about what went wrong, cleaned for logs and terminals; `None` without any."""
        text = self.body.get("error") if isinstance(self.body, dict) else None
        if not isinstance(text, str):
            return None
        return "".join(c if c.isprintable() else " " for c in text[:_TEXT_CHARS_MAX])


class JsonClient:
    """Requests to URLs below `base`, over connections that are kept and shared."""

    def __init__(self, base: str, *, connect_s: float = CONNECT_S_MAX, total_s: float = TOTAL_S_MAX) -> None:
        self.base = base
        self._timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Reply:
        """One request and its answer. Redirects are not followed.

        Raises:
            RegistryUnavailable: no answer in time, or one that is too long.
        """
        if self._closed:
            raise RegistryUnavailable("the registry was closed")
        if self._session is None:  # on first use, because a session belongs to a running loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self.base + path, params=query, data=data, headers=headers, allow_redirects=False
            ) as response:
                answer = bytearray()
                while piece := await response.content.readany():
                    answer += piece
                    if len(answer) > answer_bytes_max:
                        raise RegistryUnavailable(f"{self.base} sent more than {answer_bytes_max} bytes")
        except TimeoutError as error:
            raise RegistryUnavailable(f"{self.base} did not answer in time") from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: a host name that DNS cannot hold
            raise RegistryUnavailable(f"{self.base} did not answer: {error}") from error
        event(_LOG, logging.DEBUG, "registry answered", method=method, path=path, status=response.status)
        return Reply(response.status, _json(bytes(answer)))

    async def close(self) -> None:
        """Close the connections. Closing twice is harmless."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _json(answer: bytes) -> Any:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
