"""A client without gateway and without Redis: it connects to the relay itself, asks, and answers `hello` meanwhile.

    RMB_MNEMONIC="word word ..." python sdk_direct.py wss://RELAY TWIN COMMAND [JSON]

The first run registers the identity with the relay. Exit code: 0 answered, 1 not, 2 wrong usage.
"""

import asyncio
import json
import os
import sys

from rmb_peer.sdk import CallError, DirectClient, RelayUnavailable, Request


async def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 4) or "RMB_MNEMONIC" not in os.environ:
        print("usage: RMB_MNEMONIC=... python sdk_direct.py wss://RELAY TWIN COMMAND [JSON]", file=sys.stderr)
        return 2
    relay, twin, command = arguments[:3]
    payload = json.loads(arguments[3]) if len(arguments) == 4 else None
    client = DirectClient(os.environ["RMB_MNEMONIC"], [relay], register=True)

    @client.command("hello")
    async def hello(request: Request) -> str:
        return f"hello twin {request.twin}"

    async with client:
        answer = await client.call(int(twin), command, payload, timeout_s=30)
        print(answer.text())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except (CallError, RelayUnavailable, ValueError) as error:
        sys.exit(f"sdk_direct.py: {error}")
