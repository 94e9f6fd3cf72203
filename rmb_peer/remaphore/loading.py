"""Imports the NATS library without what is not needed: it is most of the run time of a short command.

nats-py imports aiohttp for WebSocket servers if it finds it, which doubles the time.
"""

import sys
from collections.abc import Sequence


def load_nats(urls: Sequence[str]) -> None:
    """Import nats-py; call it before the first import of `links`.

    Args:
        urls: the servers. aiohttp is imported only if one of them is a WebSocket.
    """
    if "nats.aio.transport" in sys.modules or any(url.startswith(("ws://", "wss://")) for url in urls):
        return
    hidden = "aiohttp" not in sys.modules
    if hidden:
        sys.modules["aiohttp"] = None  # type: ignore[assignment] # importing it now raises ImportError
    try:
        import nats.aio.client  # noqa: F401
    finally:
        if hidden:
            del sys.modules["aiohttp"]
