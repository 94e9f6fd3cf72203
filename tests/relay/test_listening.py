"""Addresses: what is accepted, what is listened on."""

import resource
import socket

import pytest

from relay.listening import address_of, listen, local_address_of, parse_address, raise_open_files


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[::]:8080", ("::", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("localhost:65535", ("localhost", 65535)),
        (":8080", ("", 8080)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    """Host and port, IPv6 in brackets."""
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "host:x", "host:65536", "::1:80", "host:-1", "host:٣"])
def test_no_addresses(text: str) -> None:
    """The text says what is expected."""
    with pytest.raises(ValueError, match=r"expected host:port or \[IPv6\]:port"):
        parse_address(text)


@pytest.mark.parametrize("host", ["::", ""])
def test_all_addresses_include_ipv4(host: str) -> None:
    """`[::]` is reached by IPv4, as in other relays; asyncio alone would not."""
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert local_address_of(listener) == f"127.0.0.1:{port}"
        assert address_of(listener) in (f"[::]:{port}", f"0.0.0.0:{port}")
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("localhost", None)])
def test_one_address(host: str, shown: str | None) -> None:
    """A name or an address, and its real port."""
    with listen(host, 0) as listener:
        address = address_of(listener)
        assert not address.endswith(":0")
        assert shown is None or address.startswith(shown + ":")
        assert local_address_of(listener) == address


def test_open_files_are_never_lowered() -> None:
    """The soft limit goes up to the hard one, at most to what a relay needs, and stays if it is higher."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_open_files()
    raised, same = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert same == hard
    assert raised >= soft
    raise_open_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, hard)
