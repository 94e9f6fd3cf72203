"""What is really in a store of mailboxes, and what the counters say of it."""

from typing import Any

from redis.asyncio import Redis

Counts = dict[str, tuple[int, int]]
"""Count and bytes: of a mailbox, of a twin, of everything."""


async def really_stored(client: Redis) -> Counts:
    """Read everything."""
    raw: Any = client
    found: Counts = {}

    def add(name: str, count: int, size: int) -> None:
        before = found.get(name, (0, 0))
        found[name] = (before[0] + count, before[1] + size)

    for key in await raw.keys("stream:*"):
        twin, _, session = key.decode().removeprefix("stream:").partition(":")
        entries = await raw.xrange(key)
        if entries:
            size = sum(len(value) for _, fields in entries for value in fields.values())
            for name in (f"{twin} {session}", twin, "all"):
                add(name, len(entries), size)
    return found


async def counted(client: Redis) -> Counts:
    """Read the counters."""
    raw: Any = client
    found: Counts = {}
    for key in await raw.keys("relay.stored:*"):
        twin = key.decode().removeprefix("relay.stored:{").removesuffix("}")
        fields = await raw.hgetall(key)
        for field, value in fields.items():
            count, size, *_ = map(int, value.split()[:2])
            if field == b"t":
                found[twin] = (count, size)
                assert int(value.split()[2]) == len(fields) - 1
            else:
                found[f"{twin} {field.decode().removeprefix('m').removeprefix(':')}"] = (count, size)
    count, size = await raw.hmget("relay.stored", "n", "b")
    if int(count or 0) or int(size or 0):
        found["all"] = (int(count or 0), int(size or 0))
    return found
