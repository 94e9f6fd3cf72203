"""Where a store is and how one signs in there, read from a client of redis-py: one reader of URLs, one set of rules.

It refuses to know what is asked there.
"""

import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

Command = tuple[bytes | str | int | float, ...]


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where to connect, and what to say first.

    Attributes:
        host, port: of a TCP connection; `None` and 0 for a Unix socket.
        path: of a Unix socket.
        tls: what is checked of the server, for `rediss://`.
        connect_s_max: longest wait for a connection.
        hello: commands that begin every connection, AUTH among them.
        keep_alive: TCP options that make the system notice a host that vanished.
    """

    host: str | None
    port: int
    path: str
    tls: ssl.SSLContext | None
    connect_s_max: float | None
    hello: tuple[Command, ...] = field(repr=False)
    keep_alive: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(cls, redis: Redis) -> "StoreAddress":
        """The address that a client of redis-py connects to, with its user, password, database and client name."""
        pool: Any = redis.connection_pool
        described = pool.make_connection()  # only a description: nothing connects here
        path = getattr(described, "path", "")
        context = getattr(described, "ssl_context", None)
        return cls(
            host=None if path else described.host,
            port=0 if path else described.port,
            path=path,
            tls=context.get() if context is not None else None,
            connect_s_max=described.socket_connect_timeout,
            hello=_hello(described),
            keep_alive=() if path else _keep_alive(described),
        )

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return self.path if self.host is None else f"{self.host}:{self.port}"


def _hello(described: Any) -> tuple[Command, ...]:
    """AUTH, CLIENT SETNAME and SELECT, as far as they are needed."""
    commands: list[Command] = []
    if described.credential_provider is not None:
        commands.append(("AUTH", *described.credential_provider.get_credentials()))
    elif described.username or described.password:
        user = (described.username,) if described.username else ()
        commands.append(("AUTH", *user, described.password or ""))
    if described.client_name:
        commands.append(("CLIENT", "SETNAME", described.client_name))
    if described.db:
        commands.append(("SELECT", int(described.db)))
    return tuple(commands)


def _keep_alive(described: Any) -> tuple[tuple[int, int, int], ...]:
    if not described.socket_keepalive:
        return ()
    options = ((socket.IPPROTO_TCP, option, value) for option, value in described.socket_keepalive_options.items())
    return ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *options)
