"""Addresses to listen on: read from text, turned into a socket. It refuses to know what is served there."""

import resource
import socket

BACKLOG = 1024
"""Connections that wait to be accepted when all clients reconnect at once; the kernel caps it (net.core.somaxconn)."""

OPEN_FILES = 524_288
"""Every connection is an open file; as many as other relays ask for (spec rmb 8.2)."""

_ANY = ("::", "")


def parse_address(text: str) -> tuple[str, int]:
    """Read `host:port` or `[IPv6]:port`.

    Raises:
        ValueError: it is neither; the text says what is expected.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535 or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is no address: expected host:port or [IPv6]:port, for example [::]:8080")
    return host, int(port)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. `::` and the empty host mean all addresses, those of IPv4 included.

    Args:
        host, port: where.
        shared: whether other processes listen there, too; the kernel shares new connections out among them.

    Raises:
        OSError: the address cannot be used.
    """
    if host in _ANY:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True, reuse_port=shared
            )
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG, reuse_port=shared)  # noqa: S104 - asked for
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG, reuse_port=shared)


def reserve(host: str, port: int) -> socket.socket:
    """Take an address that several of our processes will share; nothing is accepted on this socket.

    Sharing would let a second relay slip in by mistake, so it is first tried whether anybody else is there.

    Raises:
        OSError: the address cannot be used.
    """
    with listen(host, port) as probe:
        family, taken = probe.family, probe.getsockname()
        dual = family == socket.AF_INET6 and not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(taken)
    except OSError:
        reserved.close()
        raise
    return reserved


def address_of(listener: socket.socket) -> str:
    """`host:port` as it was really taken."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_address_of(listener: socket.socket) -> str:
    """`host:port` under which this machine reaches it."""
    host, port = listener.getsockname()[:2]
    if host in ("::", "0.0.0.0"):  # noqa: S104 - compared, not bound
        return f"127.0.0.1:{port}"
    return address_of(listener)


def raise_open_files() -> None:
    """Allow as many connections as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
