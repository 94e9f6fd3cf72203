"""From a URL to a registry. The one place that names every backend; each is imported only when it is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.registry.base import Registry, RegistryRefused
from rmb_peer.registry.urls import http_of_relay, parse_registry_url

if TYPE_CHECKING:
    from rmb_peer.registry.tfchain.registry import TfchainRegistry

WELL_KNOWN_PATH = "/.well-known/rmb"
"""Where a relay says what it offers."""

_WHAT_TO_DO = "name a registry with --registry, as https://host or file:PATH, or nodes of tfchain with --substrate"


def open_registry(url: str, *more: str, relays: Sequence[str] = ()) -> Registry:
    """The registry behind a URL. Nothing is read or connected before it is used.

    Args:
        url: `file:PATH` (TOML or JSON), `http(s)://host[:port][/registry/v1]`, `ws(s)://host[:port]` (a node of
            tfchain), `memory:` (empty and private to this object), or `relay:` for the registry that the first
            answering one of `relays` offers.
        more: further nodes of the same chain.
        relays: `ws://` or `wss://` URLs; only `relay:` uses them.

    Raises:
        BadRequest: the URL names no registry that we can open; the text says what can be.
    """
    scheme = _scheme(url)
    if scheme in ("ws", "wss"):
        return open_tfchain(url, *more)
    if more:
        raise BadRequest(f"several registries are given, and only tfchain has several nodes: {_WHAT_TO_DO}")
    if scheme == "file":
        from rmb_peer.registry.file import FileRegistry

        return FileRegistry(_path(url))
    if scheme in ("http", "https"):
        from rmb_peer.registry.relay_hosted import RelayHostedRegistry

        return RelayHostedRegistry(url)
    if scheme == "memory":
        from rmb_peer.registry.memory import MemoryRegistry

        return MemoryRegistry()
    if scheme == "relay":
        from rmb_peer.registry.discovered import DiscoveredRegistry

        return DiscoveredRegistry(relays)
    raise BadRequest(f"{url[:200]!r} is not a registry: {_WHAT_TO_DO}")


def open_tfchain(*urls: str) -> "TfchainRegistry":
    """The chain behind some nodes, with what it can do besides the contract.

    Raises:
        BadRequest: one of the URLs is no node's.
    """
    from rmb_peer.registry.tfchain.registry import TfchainRegistry

    return TfchainRegistry(urls)


async def registry_of_relay(relay_url: str) -> str:
    """Ask a relay for the registry that it offers.

    Args:
        relay_url: `ws://host[:port]` or `wss://host[:port]`.

    Returns:
        a URL for `open_registry`, always `http` or `https`.

    Raises:
        BadRequest: `relay_url` is no relay's URL.
        RegistryUnavailable: the relay did not answer.
        RegistryRefused: it offers none, or one that must not be used.
    """
    from rmb_peer.registry.http import JsonClient

    base = http_of_relay(relay_url)
    client = JsonClient(base)
    try:
        reply = await client.request("GET", WELL_KNOWN_PATH)
    finally:
        await client.close()
    offered = reply.body.get("registry") if reply.status == 200 and isinstance(reply.body, dict) else None
    if offered is None:
        raise RegistryRefused(f"the relay {base} offers no registry: {_WHAT_TO_DO}")
    return _check_offer(offered, base)


def _check_offer(offered: Any, base: str) -> str:
    """A relay may point to its own path or to another host, but not to a file of ours, nor away from TLS."""
    if not isinstance(offered, str):
        raise RegistryRefused(f"the relay {base} offers a registry that is no URL: {_WHAT_TO_DO}")
    if offered.startswith("/") and not offered.startswith("//"):
        offered = base + offered
    if _scheme(offered) in ("ws", "wss"):
        # Writing to a chain costs money, and whom to pay is not for a relay to say.
        raise RegistryRefused(f"the relay {base} uses tfchain: join it with --substrate {offered[:200]}")
    try:
        url = parse_registry_url(offered).base
    except BadRequest:
        raise RegistryRefused(f"the relay {base} offers {offered[:200]!r} as registry: {_WHAT_TO_DO}") from None
    if base.startswith("https:") and not url.startswith("https:"):
        raise RegistryRefused(f"the relay {base} offers a registry without TLS ({url}): {_WHAT_TO_DO}")
    return url


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _path(url: str) -> Path:
    """The path of `file:PATH`, `file:///PATH` or `file://localhost/PATH`."""
    rest = url.partition(":")[2]
    if rest.startswith("//"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise BadRequest(f"{url[:200]!r} names a file on another machine: expected file:PATH or file:///PATH")
        rest = unquote(parts.path)
    if not rest or "\0" in rest:
        raise BadRequest(f"{url[:200]!r} names no file: expected file:PATH or file:///PATH")
    return Path(rest).expanduser()
