"""The stand-in as a process: `python -m tests.support.chain --port 9944 --fund 5Grw…`.

The development accounts of the genesis state (//Alice, //Bob, …) have funds from the beginning. It prints its URL as
its first line.
"""

import argparse
import asyncio
import signal

from tests.support.chain.data import why_not
from tests.support.chain.server import StandIn, stand_in_node

FINALITY_DELAY_S = 0.5
"""Clients in JavaScript lose a status that is overtaken sooner (spec tfchain, appendix B)."""


async def run(port: int, block_time_s: float | None, accounts: list[str], finality_delay_s: float) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with stand_in_node(port, instant=block_time_s is None, finality_delay_s=finality_delay_s) as node:
        for account in accounts:
            node.fund(account)
        print(node.url, flush=True)
        clock = asyncio.create_task(tick(node, block_time_s)) if block_time_s else None
        await stop.wait()
        if clock:
            clock.cancel()


async def tick(node: StandIn, block_time_s: float) -> None:
    """Make a block at regular times."""
    while True:
        await asyncio.sleep(block_time_s)
        node.produce()


def main() -> None:
    """Flags, then run."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.chain", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--block-time", type=float, metavar="SECONDS", help="default: a block per extrinsic, at once")
    parser.add_argument("--finality-delay", type=float, default=FINALITY_DELAY_S, metavar="SECONDS")
    parser.add_argument("--fund", nargs="*", default=[], metavar="ADDRESS", help="accounts that get 100 TFT")
    flags = parser.parse_args()
    if missing := why_not():
        parser.error(missing)
    asyncio.run(run(flags.port, flags.block_time, flags.fund, flags.finality_delay))


if __name__ == "__main__":
    main()
