"""Where a relay is, and which must not be spoken to (spec rmb 6.8, 10.9)."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.federation.places import PlaceRefused, Places
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import normalize_relay

PUBLIC = Places(frozenset({"relay.example.org"}))
HOME = Places(frozenset({"localhost:8080", "box:8080"}))


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("b.example.org", "https://b.example.org/"),
        ("b.example.org:8443", "https://b.example.org:8443/"),
        ("8.8.8.8", "https://8.8.8.8/"),
        ("[2606:4700::1111]:444", "https://[2606:4700::1111]:444/"),
    ],
)
def test_a_public_relay(name: str, url: str) -> None:
    """Https at its name, with its port if it has one."""
    assert PUBLIC.url(name) == url


@pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1:1", "[::1]:1", "a.localhost"])
def test_this_machine(name: str) -> None:
    """Plain http, but only for a relay that is itself on this machine."""
    assert HOME.url(name) == f"http://{name}/"
    with pytest.raises(PlaceRefused):
        PUBLIC.url(name)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:0a00:0001::",
    ],
)
def test_addresses_that_a_public_name_must_not_have(address: str) -> None:
    """Whatever only this relay could reach, in any disguise, by address and by name."""
    with pytest.raises(PlaceRefused, match="not public"):
        PUBLIC.check_address("b.example.org:443", ip_address(address))
    with pytest.raises(PlaceRefused):
        HOME.check_address("b.example.org:443", ip_address(address))


@pytest.mark.parametrize("name", ["10.1.2.3", "[fc00::1]:80", "169.254.169.254:80"])
def test_private_addresses_as_names(name: str) -> None:
    """A record may hold an address, too."""
    for places in (PUBLIC, HOME):
        with pytest.raises(PlaceRefused, match="not public"):
            places.url(name)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_public_addresses_pass(address: str) -> None:
    """Also behind a translator."""
    PUBLIC.check_address("b.example.org:443", ip_address(address))


def test_never_to_itself() -> None:
    """The names of this relay are no place to post to, mapped or not."""
    places = Places(frozenset({"a.test"}), places={"a.test": "http://10.0.0.1/"}, allow=("*",))
    with pytest.raises(PlaceRefused, match=r"a\.test is this relay"):
        places.url("a.test")


def test_mapped() -> None:
    """The operator knows where it is, so its address is not questioned."""
    places = Places(frozenset({"a.test"}), places={"b.test": "http://10.0.0.1:81/x"})
    assert places.url("b.test") == "http://10.0.0.1:81/x"
    inside = Places(frozenset({"a.test"}), places={"b.test": "http://inside:81/"})
    inside.check_address("inside:81", ip_address("10.0.0.1"))
    with pytest.raises(PlaceRefused):
        inside.check_address("outside:81", ip_address("10.0.0.1"))


def test_allow_and_deny() -> None:
    """Only what matches, wherever it is; and never what is denied."""
    places = Places(frozenset({"a.test"}), allow=("*.good.test", "10.0.0.*"), deny=("bad.good.test",))
    assert places.url("x.good.test:81") == "https://x.good.test:81/"
    assert places.url("10.0.0.7") == "https://10.0.0.7/"
    places.check_address("x.good.test:81", ip_address("192.168.1.1"))
    for name in ("good.test", "bad.good.test", "bad.good.test:1", "10.0.1.7", "other.test"):
        with pytest.raises(PlaceRefused, match=r"does not speak to"):
            places.url(name)


@given(st.text(max_size=40), st.sampled_from([PUBLIC, HOME]))
def test_any_name(text: str, places: Places) -> None:
    """A name gives a URL of that host, or is refused."""
    try:
        name = normalize_relay(text)
        url = places.url(name)
    except (BadRequest, PlaceRefused):
        return
    assert url in (f"https://{name}/", f"http://{name}/")
