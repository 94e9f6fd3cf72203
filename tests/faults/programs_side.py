"""What the local programs do: push numbered requests, serve them, collect answers.

Each step is one script, so that it happens in the store or not at all, however the connection ends; repeating a push
does nothing. What was seen and what was answered stays in the store, and is read once, at the end.
"""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

PLAIN, LEASED = "faults.plain", "faults.leased"
RETURNS = "faults-ret"
PUSHED, SEEN, ANSWERS = "faults-pushed", "faults-seen", "faults-answers"
EXPIRES_S = 1800
BATCH = 100

_PUSH = """
for i = 1, #ARGV, 2 do
  if redis.call('SADD', KEYS[1], ARGV[i]) == 1 then redis.call('LPUSH', KEYS[2], ARGV[i + 1]) end
end
"""

_SERVE = """
local served = 0
for _ = 1, tonumber(ARGV[1]) do
  local item = redis.call('RPOP', KEYS[1])
  if not item then break end
  local request = cjson.decode(item)
  redis.call('LPUSH', KEYS[2], request.dat)
  redis.call('LPUSH', KEYS[3], cjson.encode({ver = 1, ref = request.ref, dat = request.dat, dst = request.src,
    shm = 'text/plain', now = tonumber(ARGV[2]), err = cjson.null}))
  served = served + 1
end
return served
"""

_COLLECT = """
local count = 0
for _ = 1, tonumber(ARGV[1]) do
  if not redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT') then break end
  count = count + 1
end
return count
"""


class ProgramsSide:
    """The local programs of one site. Calls wait out a store that is away.

    Attributes:
        pushed: how many requests so far.
        answered: how many messages came back so far.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.url = f"redis://127.0.0.1:{port}"
        self.pushed = 0
        self.answered = 0
        self._redis: Any = Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=None)

    async def ready(self) -> None:
        """Wait until the store answers."""
        await self._until_done(self._redis.ping)

    async def push(self, numbers: range, receiver: int) -> None:
        """Push requests, every second one for a service with leases."""
        words: list[str] = []
        for number in numbers:
            key = f"{self.name}:{number}"
            request = {
                "ver": 1,
                "ref": key,
                "cmd": LEASED if number % 2 else PLAIN,
                "exp": EXPIRES_S,
                "dat": base64.b64encode(key.encode()).decode(),
                "dst": [receiver],
                "ret": RETURNS,
                "now": int(time.time()),
            }
            words += (key, json.dumps(request))
        await self._until_done(lambda: self._redis.eval(_PUSH, 2, PUSHED, "msgbus.system.local", *words))
        self.pushed += len(numbers)

    async def serve_and_collect(self) -> None:
        """Serve the plain command and gather what comes back, until cancelled."""
        served = ("msgbus." + PLAIN, SEEN, "msgbus.system.reply")
        while True:
            count = await self._until_done(lambda: self._redis.eval(_SERVE, 3, *served, BATCH, int(time.time())))
            came = await self._until_done(lambda: self._redis.eval(_COLLECT, 2, RETURNS, ANSWERS, BATCH))
            if came:
                self.answered = await self._until_done(lambda: self._redis.llen(ANSWERS))
            if not count and not came:
                await asyncio.sleep(0.02)  # both lists were empty: a poll, as scripts cannot wait

    async def seen(self) -> list[str]:
        """What the plain service was given, a name for each delivery."""
        return [base64.b64decode(item).decode() for item in await self._all(SEEN)]

    async def answers(self) -> list[dict[str, Any]]:
        """What came back."""
        return [json.loads(item) for item in await self._all(ANSWERS)]

    async def left_over(self) -> dict[str, int]:
        """What should be empty at the end."""
        names = ("rmb:outbox", "msgbus.system.local", "msgbus.system.reply", "msgbus." + PLAIN, "msgbus." + LEASED)
        counts = {}
        for name in names:
            call = self._redis.xlen if name == "rmb:outbox" else self._redis.llen
            counts[name] = await self._until_done(lambda call=call, name=name: call(name))
        return {name: count for name, count in counts.items() if count}

    async def close(self) -> None:
        await self._redis.aclose()

    async def _all(self, name: str) -> list[bytes]:
        items: list[bytes] = await self._until_done(lambda: self._redis.lrange(name, 0, -1))
        return items

    async def _until_done(self, attempt: Any) -> Any:
        while True:
            try:
                call: Awaitable[Any] = attempt()
                return await call
            except (RedisError, OSError):
                await asyncio.sleep(0.05)  # killed or loading its data: it is back in a moment
