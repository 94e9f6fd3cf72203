"""From URLs to registries, and from a relay to the registry that it offers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.discovered import DiscoveredRegistry
from rmb_peer.registry.file import FileRegistry
from rmb_peer.registry.memory import MemoryRegistry
from rmb_peer.registry.opening import open_registry, registry_of_relay
from rmb_peer.registry.relay_hosted import RelayHostedRegistry
from rmb_peer.registry.urls import RegistryUrl, http_of_relay, parse_registry_url
from tests.support.hosted_registry import Listener, scripted_host, signer, until

WELL_KNOWN = "GET /.well-known/rmb"
RELAYS = frozenset({"relay.test"})


@pytest.mark.parametrize(
    ("url", "base", "audience"),
    [
        ("https://Relay.Test", "https://relay.test/registry/v1", "relay.test"),
        ("https://relay.test:443/", "https://relay.test/registry/v1", "relay.test"),
        ("https://relay.test:80", "https://relay.test:80/registry/v1", "relay.test:80"),
        ("http://relay.test:80/registry/v1", "http://relay.test/registry/v1", "relay.test"),
        ("HTTP://127.0.0.1:8080/registry/v1/", "http://127.0.0.1:8080/registry/v1", "127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080/registry/v1", "[::1]:8080"),
        ("https://site.test/rmb/registry/v1", "https://site.test/rmb/registry/v1", "site.test"),
    ],
)
def test_registry_urls(url: str, base: str, audience: str) -> None:
    """Scheme and host in any case, ports of their own dropped, the path added when it is missing."""
    assert parse_registry_url(url) == RegistryUrl(base, audience)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http:relay.test",
        "ftp://relay.test",
        "https://relay.test/other",
        "https://relay.test/registry/v1?token=x",
        "https://relay.test/registry/v1#x",
        "https://user:password@relay.test",
        "https://relay.test:99999",
        "https://relay.test:x",
        "https://[::1",
        "https://relay..test",
        "https://relay.test/ü/registry/v1",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """What is no registry's URL is refused with the form that is expected."""
    with pytest.raises(BadRequest, match=r"expected http\(s\)://host"):
        parse_registry_url(url)


@given(st.text() | st.text().map("https://{}".format) | st.text().map("http://relay.test{}".format))
def test_noise_is_refused_or_read(url: str) -> None:
    """Any text gives a URL or the error for it, never another exception."""
    for read in (parse_registry_url, open_registry, http_of_relay):
        try:
            assert read(url) is not None
        except BadRequest:
            continue


def test_the_http_side_of_a_relay() -> None:
    """ws is http, wss is https; a path and a query are not part of it."""
    assert http_of_relay("wss://Relay.Test:443/x?y") == "https://relay.test"
    assert http_of_relay("ws://127.0.0.1:8080") == "http://127.0.0.1:8080"
    with pytest.raises(BadRequest):
        http_of_relay("https://relay.test")


async def test_each_scheme_opens_its_backend(tmp_path: Path) -> None:
    """The scheme chooses the backend, in any case; nothing is read or connected yet."""
    for url, kind in {
        "memory:": MemoryRegistry,
        "file:twins.toml": FileRegistry,
        "FILE:///etc/twins.json": FileRegistry,
        "file://localhost/etc/twins.json": FileRegistry,
        "http://relay.test": RelayHostedRegistry,
        "https://relay.test:8443/registry/v1": RelayHostedRegistry,
    }.items():
        registry = open_registry(url)
        assert type(registry) is kind
        await registry.close()
    assert type(open_registry("relay:", relays=["wss://relay.test"])) is DiscoveredRegistry
    path = tmp_path / "with space.json"
    path.write_text('{"twins": []}')
    for url in (f"file:{path}", path.as_uri()):
        assert await open_registry(url).get(1) is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("wss://user:password@tfchain.grid.tf", "--substrate: what was given is no URL of a node"),
        ("ws://", "is no URL of a node: expected ws://host"),
        ("file:", "names no file"),
        ("file://host/x", "on another machine"),
        ("file:a\0b", "names no file"),
        ("twins.toml", "is not a registry: name a registry with --registry"),
        ("", "is not a registry"),
        ("relay:", "no relay to ask"),
    ],
)
def test_what_cannot_be_opened_says_what_can(url: str, says: str) -> None:
    """Each refusal names what would work."""
    with pytest.raises(BadRequest, match=says):
        open_registry(url)


def test_relays_to_ask_must_be_relays() -> None:
    """A slip in a relay's URL is found when the registry is opened, not when it is used."""
    with pytest.raises(BadRequest, match="not a relay URL"):
        open_registry("relay:", relays=["wss://relay.test", "relay.test"])


# --- asking a relay ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ("/registry/v1", "{own}/registry/v1"),
        ("/behind/registry/v1", "{own}/behind/registry/v1"),
        ("https://other.test", "https://other.test/registry/v1"),
        ("http://other.test:81/registry/v1/", "http://other.test:81/registry/v1"),
    ],
)
async def test_a_relay_names_its_registry(offered: str, expected: str) -> None:
    """A path on the relay itself, or the URL of another host."""
    async with scripted_host() as (host, url):
        host.answers[WELL_KNOWN] = (200, {"registry": offered})
        assert await registry_of_relay(url.replace("http", "ws")) == expected.format(own=url)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {}), "offers no registry: name a registry with --registry"),
        ((200, {"registry": None}), "offers no registry"),
        ((200, []), "offers no registry"),
        ((404, {"error": "not found"}), "offers no registry"),
        ((404, {"registry": "/registry/v1"}), "offers no registry"),
        ((200, {"registry": 3}), "no URL"),
        ((200, {"registry": "wss://tfchain.grid.tf"}), "uses tfchain: join it with --substrate wss://tfchain.grid.tf"),
        ((200, {"registry": "file:///etc/passwd"}), "offers 'file:///etc/passwd' as registry"),
        ((200, {"registry": "memory:"}), "offers 'memory:'"),
        ((200, {"registry": "//other.test/registry/v1"}), "offers '//other.test/registry/v1'"),
        ((200, {"registry": "/elsewhere"}), "as registry"),
    ],
)
async def test_a_relay_without_a_usable_registry(answer: tuple[int, Any], says: str) -> None:
    """What a relay offers is opened only when it is http or https; the refusal says what to do."""
    async with scripted_host() as (host, url):
        host.answers[WELL_KNOWN] = answer
        with pytest.raises(RegistryRefused, match=says):
            await registry_of_relay(url.replace("http", "ws"))


def test_tls_is_not_given_up() -> None:
    """A relay behind TLS cannot send us to a registry without it."""
    from rmb_peer.registry.opening import _check_offer

    with pytest.raises(RegistryRefused, match="without TLS"):
        _check_offer("http://relay.test/registry/v1", "https://relay.test")
    assert _check_offer("/registry/v1", "https://relay.test") == "https://relay.test/registry/v1"


async def test_a_silent_relay_is_unavailable() -> None:
    """Nobody at the relay's address: "unavailable", because it may come."""
    async with scripted_host() as (_, url):
        pass
    with pytest.raises(RegistryUnavailable, match="did not answer"):
        await registry_of_relay(url.replace("http", "ws"))


# --- relay: -----------------------------------------------------------------------------------------------------------


class Found:
    """Relays that answer as scripted, and the registries that were opened for them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.opened: list[str] = []
        self.registry = MemoryRegistry()

    def open(self, url: str) -> MemoryRegistry:
        self.opened.append(url)
        return self.registry

    def discover(self, *relays: str) -> DiscoveredRegistry:
        urls = [relay.replace("http", "ws") for relay in relays]
        return DiscoveredRegistry(urls, clock=lambda: self.now, opener=self.open)


async def test_the_first_relay_that_offers_one_is_used() -> None:
    """Relays are asked in their order, once; a relay without a registry is passed over."""
    found = Found()
    async with scripted_host() as (without, first), scripted_host() as (second_host, second):
        without.answers[WELL_KNOWN] = (200, {"registry": None})
        second_host.answers[WELL_KNOWN] = (200, {"registry": "/registry/v1"})
        registry = found.discover(first, second)
        twins = await asyncio.gather(*(registry.get(1) for _ in range(20)))
        assert twins == [None] * 20
        twin = await registry.put(signer("a"), RELAYS, None)
        assert await registry.get_by_account(twin.account) == twin
        assert found.opened == [f"{second}/registry/v1"]
        assert (without.asked, second_host.asked) == ([WELL_KNOWN], [WELL_KNOWN])
    await registry.close()


async def test_relays_are_asked_again_after_a_second() -> None:
    """As long as no relay has answered, reads and writes are "unavailable", and relays are not hammered."""
    found = Found()
    async with scripted_host() as (host, url):
        host.answers[WELL_KNOWN] = (200, {"registry": None})
        registry = found.discover(url)
        for _ in range(10):
            with pytest.raises(RegistryUnavailable, match="offers no registry"):
                await registry.get(1)
            with pytest.raises(RegistryRefused, match="offers no registry"):
                await registry.put(signer("a"), RELAYS, None)
        assert host.asked == [WELL_KNOWN]
        host.answers[WELL_KNOWN] = (200, {"registry": "/registry/v1"})
        found.now += 1
        assert await registry.get(1) is None
        await registry.close()


async def test_one_silent_relay_keeps_the_door_open() -> None:
    """When one relay refuses and another is silent, trying again may help, also for put."""
    found = Found()
    async with scripted_host() as (_, silent):
        pass
    async with scripted_host() as (host, url):
        host.answers[WELL_KNOWN] = (200, {"registry": None})
        registry = found.discover(url, silent)
        with pytest.raises(RegistryUnavailable, match="did not answer"):
            await registry.put(signer("a"), RELAYS, None)


async def test_watching_begins_when_a_registry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher that is early waits for the relay."""
    from rmb_peer.registry import discovered

    monkeypatch.setattr(discovered, "PAUSE_S", 0.01)
    found = Found()
    async with scripted_host() as (host, url):
        host.answers[WELL_KNOWN] = (503, {})
        registry = DiscoveredRegistry([url.replace("http", "ws")], opener=found.open)
        listener = Listener(registry)
        await until(lambda: len(host.asked) >= 2)
        host.answers[WELL_KNOWN] = (200, {"registry": "/registry/v1"})
        await until(lambda: bool(found.registry._watchers))
        twin = await found.registry.put(signer("a"), RELAYS, None)
        await until(lambda: listener.heard == [twin])
        await listener.stop()


async def test_closed_before_found() -> None:
    """A registry that was closed before it was found says so, and asks nobody."""
    registry = Found().discover("http://127.0.0.1:9")
    await registry.close()
    with pytest.raises(RegistryUnavailable, match="closed"):
        await registry.get(1)
