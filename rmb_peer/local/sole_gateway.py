"""One gateway for each store: a second one would take what the first has taken, and send it twice.

The connections of a gateway carry a name in CLIENT LIST, so presence ends the moment a process does, and no lock delays
a restart. Of two that see each other the one that connected later gives way. It refuses to know what gateways do.
"""

import asyncio
import logging
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from rmb_peer.local.keys import GATEWAY_CLIENT_PREFIX
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import OtherError

PATIENCE_S = 5.0
"""How long the connections of a killed predecessor may take to vanish. A guess: here it takes milliseconds."""

DEAD_IDLE_S = 60
"""A gateway asks its store something every five seconds; one that asked nothing for this long has lost its machine or
its network. Its connections are closed, so that it cannot go on where it stopped. A guess."""

_POLL_S = 0.1
_LOG = get_logger("gateway")


class AnotherGateway(OtherError):
    """Another gateway uses this store."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"another gateway uses this Redis database ({detail}): stop it, or give each gateway a database of its "
            "own, such as --redis redis://localhost:6379/1"
        )


def gateway_client_name(random_bytes: bytes) -> str:
    """The name of all connections of one gateway."""
    return GATEWAY_CLIENT_PREFIX + random_bytes.hex()


async def claim(redis: Redis, own_name: str, patience_s: float = PATIENCE_S) -> None:
    """Return when no older gateway is connected to this database.

    Args:
        redis: a client whose connections are called `own_name`.
        own_name: see `gateway_client_name`.
        patience_s: how long an older one may take to vanish.

    Raises:
        AnotherGateway: it stayed.
    """
    clock = asyncio.get_running_loop().time
    until_s = clock() + patience_s
    while (rivals := await older_rivals(redis, own_name)) and clock() < until_s:  # noqa: ASYNC110 - the store tells
        await asyncio.sleep(_POLL_S)
    if not rivals:
        return
    if all(int(rival["idle"]) >= DEAD_IDLE_S for rival in rivals):
        event(_LOG, logging.WARNING, "closing the connections of a gateway that is gone", who=describe(rivals))
        for rival in rivals:
            await redis.client_kill_filter(_id=rival["id"])
        return
    raise AnotherGateway(describe(rivals))


async def older_rivals(redis: Redis, own_name: str) -> list[dict[str, str]]:
    """Connections of other gateways to this database, if one of them is older than all of ours.

    Where CLIENT LIST is not permitted nobody is seen, and a warning says so.
    """
    try:
        answer: Any = await redis.client_list()
    except exceptions.NoPermissionError as error:
        event(_LOG, logging.WARNING, "cannot see whether another gateway uses this store", reason=str(error))
        return []
    clients: list[dict[str, str]] = answer
    own = [client for client in clients if client.get("name") == own_name]
    if not own:
        return []  # just disconnected: the next look will tell
    asking = next((client for client in own if client.get("cmd", "").startswith("client")), own[0])
    rivals = [
        client
        for client in clients
        if client.get("name", "").startswith(GATEWAY_CLIENT_PREFIX)
        and client["name"] != own_name
        and client.get("db") == asking.get("db")  # others of ours may not have selected theirs yet
    ]
    oldest = min(int(client["id"]) for client in own)
    return rivals if any(int(rival["id"]) < oldest for rival in rivals) else []


def describe(rivals: list[dict[str, str]]) -> str:
    """Where they connect from, for how long, and when they were last heard."""
    oldest = max(rivals, key=lambda rival: int(rival["age"]))
    idle_s = min(int(rival["idle"]) for rival in rivals)
    return f"connected from {oldest['addr']} for {oldest['age']} s, last heard {idle_s} s ago"
