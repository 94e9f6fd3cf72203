"""The client on Redis for programs without an event loop: the same calls, blocking.

    with SyncClient() as client:
        print(client.call(7, "calc.add", [1, 2]).json())

An event loop runs in a thread of its own; several threads may call at the same time.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from rmb_peer.sdk.asking import EMPTY, Progress
from rmb_peer.sdk.calls import TIMEOUT_S_DEFAULT, Answer, Call, Outcome
from rmb_peer.sdk.client import Client

T = TypeVar("T")

TAKE_BACK_S_MAX = 5.0
"""Longest wait, when a call is interrupted, for Redis to forget the request; a guess."""


class SyncClient:
    """Asks twins. Use it as a context manager, or `close` it."""

    def __init__(self, redis_url: str | None = None) -> None:
        """See `Client`.

        Raises:
            ValueError: it is no Redis URL.
        """
        self._client = Client(redis_url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rmb-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def call(
        self,
        twin: int,
        command: str,
        payload: object = EMPTY,
        *,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        tag: str | None = None,
    ) -> Answer:
        """See `Client.call`, with the same arguments and errors."""
        return self._wait(self._client.call(twin, command, payload, timeout_s=timeout_s, tag=tag))

    def call_many(
        self, calls: Sequence[Call], *, timeout_s: float = TIMEOUT_S_DEFAULT, progress: Progress | None = None
    ) -> list[Outcome]:
        """See `Client.call_many`, with the same arguments and errors. `progress` is called in another thread."""
        return self._wait(self._client.call_many(calls, timeout_s=timeout_s, progress=progress))

    def close(self) -> None:
        """See `Client.close`. Closing twice is harmless."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise ValueError("this client is closed")
        ended = threading.Event()

        async def tracked() -> T:
            try:
                return await work
            finally:
                ended.set()

        future: Future[T] = asyncio.run_coroutine_threadsafe(tracked(), self._loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():  # Ctrl-C: the request is taken back
                ended.wait(TAKE_BACK_S_MAX)
            raise
