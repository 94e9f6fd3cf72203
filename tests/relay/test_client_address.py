"""Who asks: what is believed from whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client_address import Client, client_of, parse_network, read_address, site_of

PROXIES = (parse_network("10.0.0.0/8"), parse_network("fd00::/8"))


def client(peer: str, *forwarded: str, proto: tuple[str, ...] = (), secure: bool = False) -> Client:
    return client_of(peer, secure, forwarded, proto, PROXIES)


def test_strangers_are_not_believed() -> None:
    """Whoever is no trusted proxy can write into the headers what it likes."""
    assert client("192.0.2.1", "198.51.100.7", proto=("https",)) == Client("192.0.2.1", False, False)
    assert client_of("10.0.0.1", True, ["198.51.100.7"], ["http"], ()) == Client("10.0.0.1", True, False)


def test_a_trusted_proxy_is() -> None:
    """Address and scheme are those of its client."""
    assert client("10.0.0.1", "198.51.100.7", proto=("https",)) == Client("198.51.100.7", True, True)
    assert client("10.0.0.1", "198.51.100.7", proto=("http",), secure=True) == Client("198.51.100.7", False, True)
    assert client("::ffff:10.0.0.1", "198.51.100.7") == Client("198.51.100.7", False, True)


def test_the_rightmost_that_is_not_trusted_counts() -> None:
    """What is left of it was written by strangers."""
    assert client("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.9.9.9").address == "198.51.100.7"
    assert client("10.0.0.1", "1.1.1.1, 198.51.100.7", "10.9.9.9, fd00::1").address == "198.51.100.7"
    assert client("10.0.0.1", "1.1.1.1", proto=("https, http",)).secure is False


def test_nobody_but_proxies() -> None:
    """A client inside the trusted networks is the farthest that can be known."""
    assert client("10.0.0.1", "10.1.1.1, 10.2.2.2") == Client("10.1.1.1", False, True)


@pytest.mark.parametrize("header", ["", "unknown", "_hidden", "198.51.100.7, garbage"])
def test_what_is_no_address_ends_the_search(header: str) -> None:
    """Then it is the proxy's own address."""
    assert client("10.0.0.1", header) == Client("10.0.0.1", False, False)
    assert client("10.0.0.1").address == "10.0.0.1"


def test_forms_of_addresses() -> None:
    """Ports, brackets and zones are left out; IPv4 within IPv6 is IPv4."""
    for text, address in (
        ("198.51.100.7:80", "198.51.100.7"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
    ):
        assert str(read_address(text)) == address
    assert read_address("example.org") is None


def test_a_subscriber_of_ipv6_is_one() -> None:
    """All addresses of a /64 are one site; those beyond are another; IPv4 addresses are each their own."""
    assert site_of("2001:db8::1") == site_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert site_of("2001:db8:0:1::1") != site_of("2001:db8::1")
    assert site_of("::ffff:192.0.2.1") == site_of("192.0.2.1") != site_of("192.0.2.2")
    assert site_of("unix") == "unix"


def test_networks_are_checked() -> None:
    """Addresses and networks; anything else says what is expected."""
    assert parse_network("192.0.2.7") == parse_network(" 192.0.2.7/32 ")
    for text in ("10.0.0.1/8", "proxy.example.org", ""):
        with pytest.raises(ValueError, match=r"expected for example 10\.0\.0\.0/8"):
            parse_network(text)


@given(st.text(), st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_any_headers(peer: str, forwarded: list[str], proto: list[str]) -> None:
    """Nothing that somebody writes makes it fail, and only a trusted peer changes anything."""
    assert client_of(peer, False, forwarded, proto, PROXIES).address == peer
    client_of("10.0.0.1", False, forwarded, proto, PROXIES)
    site_of(peer)
