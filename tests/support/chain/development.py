"""What both local chains, the stand-in and the real runtime in chopsticks, let a test do besides."""

import asyncio
import json
from typing import Any

from websockets.asyncio.client import connect

from tests.support.chain import keys
from tests.support.chain.blocks import Account
from tests.support.chain.node import TFT_UNITS

ANSWER_S_MAX = 60.0


async def ask(url: str, method: str, *parameters: Any) -> Any:
    """The result of one request, on a connection of its own."""
    async with asyncio.timeout(ANSWER_S_MAX), connect(url, max_size=None) as client:
        await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
        answer = json.loads(await client.recv())
    assert "error" not in answer, answer
    return answer["result"]


async def fund(url: str, account: bytes, units: int = 10 * TFT_UNITS) -> None:
    """Make an account exist, with this balance, and without transactions so far."""
    value = Account(0, units).encode()
    await ask(url, "dev_setStorage", [["0x" + keys.account(account).hex(), "0x" + value.hex()]])


async def new_blocks(url: str, count: int = 1) -> None:
    """Make empty blocks."""
    await ask(url, "dev_newBlock", {"count": count})
