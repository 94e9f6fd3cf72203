"""Relays that cannot sign are recognised by their address: from DNS, or from networks that the operator gives."""

import asyncio
import socket
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client_address import read_address
from relay.federation.listed import AGAIN_S, RESOLVED_S, ListedRelays, parse_listed, resolve
from rmb_peer.protocol.errors import BadRequest


class Dns:
    """Answers, and a clock."""

    def __init__(self, *listed: str, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: Counter[str] = Counter()
        self.now = 1000.0
        self.relays = ListedRelays([parse_listed(text) for text in listed], lambda: self.now, self._find)

    async def _find(self, host: str) -> list[str]:
        self.asked[host] += 1
        await asyncio.sleep(0)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return self.addresses[host]


async def test_networks() -> None:
    """Addresses and networks of both families; DNS is not asked."""
    dns = Dns("a.test=192.0.2.7,2001:db8::/32", "b.test:8080=10.0.0.0/8")
    found = [
        await dns.relays.named(text) for text in ("192.0.2.7", "2001:db8:1::1", "10.255.255.255", "::ffff:10.0.0.1")
    ]
    assert found == ["a.test", "a.test", "b.test:8080", "b.test:8080"]
    assert [await dns.relays.named(text) for text in ("192.0.2.8", "2001:db9::1", "11.0.0.0", "", "unix")] == [None] * 5
    assert not dns.asked


async def test_names() -> None:
    """The addresses that DNS has, asked for once, and together when several posts come at once."""
    dns = Dns("a.test", "b.test:8080", a_test=["192.0.2.7"], b_test=["192.0.2.8", "2001:db8::8"])
    found = await asyncio.gather(*(dns.relays.named(text) for text in ("192.0.2.8", "192.0.2.7", "2001:db8::8") * 5))
    assert found == ["b.test:8080", "a.test", "b.test:8080"] * 5
    assert dns.asked == {"a.test": 1, "b.test": 1}


async def test_a_stranger_makes_us_ask_now_and_then() -> None:
    """It may be a listed relay at a new address, but once in half a minute is enough."""
    dns = Dns("a.test", a_test=["192.0.2.7"])
    for _ in range(10):
        assert await dns.relays.named("192.0.2.9") is None
    assert dns.asked["a.test"] == 1
    dns.addresses["a.test"] = ["192.0.2.9"]
    dns.now += AGAIN_S
    assert await dns.relays.named("192.0.2.9") == "a.test"
    assert await dns.relays.named("192.0.2.7") is None


async def test_answers_of_dns_expire() -> None:
    """An address that a relay has left is not believed for ever."""
    dns = Dns("a.test", a_test=["192.0.2.7"])
    assert await dns.relays.named("192.0.2.7") == "a.test"
    dns.addresses["a.test"] = ["192.0.2.9"]
    dns.now += RESOLVED_S - 1
    assert await dns.relays.named("192.0.2.7") == "a.test"
    dns.now += 1
    assert await dns.relays.named("192.0.2.7") is None


async def test_dns_is_away() -> None:
    """What was known stays known; one name that fails does not spoil another."""
    dns = Dns("a.test", "b.test", a_test=["192.0.2.7"])
    assert await dns.relays.named("192.0.2.7") == "a.test"
    dns.addresses.clear()
    dns.now += RESOLVED_S
    assert await dns.relays.named("192.0.2.7") == "a.test"
    assert dns.asked == {"a.test": 2, "b.test": 2}


async def test_nobody_is_listed() -> None:
    """Nobody is recognised, and nothing is asked."""
    assert await Dns().relays.named("192.0.2.7") is None


async def test_the_resolver_of_the_system() -> None:
    """It knows this machine; a label that DNS cannot hold is no crash."""
    assert set(await resolve("localhost")) & {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match=r"."):
        await resolve("a" * 64 + ".invalid")


@pytest.mark.parametrize("text", ["", "a.test ,", "=10.0.0.0/8", "http://a.test", "a b"])
def test_what_is_no_name(text: str) -> None:
    """The error says what a name looks like."""
    with pytest.raises(BadRequest, match="is not a relay: expected host or host:port"):
        parse_listed(text)


@pytest.mark.parametrize(
    "text", ["a.test=", "a.test=10.0.0.1/8", "a.test=10.0.0.0/33", "a.test=10.0.0.1,", "a.test=b.test"]
)
def test_what_is_no_network(text: str) -> None:
    """The error shows examples; bits behind the mask are a mistake."""
    with pytest.raises(ValueError, match=r"is no network: expected for example 192.0.2.7, 10.0.0.0/8 or fd00::/8"):
        parse_listed(text)


@given(st.text(max_size=60))
def test_no_text_breaks_the_readers(text: str) -> None:
    """Noise is no address, and no relay that could be listed by accident."""
    read_address(text)
    with suppress(BadRequest, ValueError):
        assert parse_listed(text).name
