"""Names into addresses, for connections to other relays: only into addresses that `Places` lets pass (spec rmb 10.9).

It has threads of its own: names that strangers have chosen, and whose servers do not answer, must not hold up whatever
else this process looks up. It refuses to know what is said to those relays.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from relay.federation.places import PlaceRefused, Places

THREADS = 32
"""Look-ups at once; a guess: each remote relay has one at most, and those that do not answer have long pauses."""


class CheckedResolver(AbstractResolver):
    """The system's answers, without addresses that must not be spoken to."""

    def __init__(self, places: Places) -> None:
        """Set up; `places` decides."""
        self._places = places
        self._threads = ThreadPoolExecutor(THREADS, "relay-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a host that may be spoken to.

        Raises:
            PlaceRefused: it has addresses, but none of these.
            OSError: it has none.
        """
        ask = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        permitted: list[ResolveResult] = []
        refused: PlaceRefused | None = None
        for kind, _, protocol, _, address in found:
            try:
                self._places.check_address(f"{host}:{port}", ip_address(address[0]))
            except PlaceRefused as error:
                refused = error
                continue
            permitted.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not permitted:
            raise refused or OSError(f"no address for {host}")
        return permitted

    async def close(self) -> None:
        """End the threads, without waiting for answers."""
        self._threads.shutdown(wait=False, cancel_futures=True)
