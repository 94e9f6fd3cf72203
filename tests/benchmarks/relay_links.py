"""How many envelopes per second one relay hands to another: over a link, and by single posts.

    python -m tests.benchmarks.relay_links [--count 20000]

A real far relay with a real store; the near side is the speaker alone, driven as the sender of an outbox does it, page
by page. Both ends share one process and one event loop, so the figures are what one core does for both.
Nobody is connected there: every envelope ends in one of 16 mailboxes.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from relay.federation.inbound_settings import InboundSettings
from relay.federation.link_speaker import LinkSpeaker, Way
from relay.federation.outbox import PAGE_ENTRIES_MAX
from relay.federation.places import Places
from relay.federation.post_speaker import PostSpeaker, open_session
from relay.federation.settings import FederationSettings
from relay.federation.signature import sign_post
from relay.federation.speaker import Accepted, Queued, Speaker
from tests.support.calling_relay import calling_relay
from tests.support.relay import Directory, relay, request

TWINS = 16
PAYLOAD_BYTES = 100


def batch(first: int, count: int) -> Sequence[Queued]:
    return [
        Queued(str(n), request(7, 100 + n % TWINS, f"uid-{n}", payload=bytes(PAYLOAD_BYTES)).SerializeToString(), 2**40)
        for n in range(first, first + count)
    ]


async def measure(name: str, speaker: Speaker, count: int, offset: int, page_entries: int) -> None:
    """One table row."""
    pages = [batch(offset + first, page_entries) for first in range(0, count, page_entries)]
    size = len(pages[0][0].data)
    await speaker.deliver(batch(offset + count, 1))  # connections and keys are there
    wall, cpu = time.perf_counter(), time.process_time()
    for page in pages:
        outcomes = await speaker.deliver(page)
        assert outcomes == [Accepted()] * len(page), outcomes[:3]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"| {name} | {page_entries * len(pages) / wall:,.0f} | {cpu / page_entries / len(pages) * 1e6:.0f} | {size} |"
    )


async def main(count: int) -> None:
    """Print the table."""
    directory = Directory()
    allowed = FederationSettings(allow=("localhost",))
    inbound = InboundSettings(posts_per_minute=10**8)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            calling_relay() as calling,
            relay(Path(folder), directory, domains=(), federation=allowed, inbound=inbound) as bed,
        ):
            name = bed.app.url.removeprefix("ws://").replace("127.0.0.1", "localhost")

            directory.reset(*range(100, 100 + TWINS), relays=(name,))

            async def way() -> Way:
                return Way(f"ws://{name}/", ["127.0.0.1"])

            places = Places(frozenset({calling.name}))
            session = open_session(places, 2.0)
            posts = PostSpeaker(
                name,
                session,
                places,
                parallel=4,
                answer_s_max=10.0,
                sign=lambda to, body: sign_post(calling.identity, calling.name, to, body, time.time()),
            )
            link = LinkSpeaker(name, way, lambda: calling.proof(to=name))
            print("| | envelopes/s | µs of processor time each, both ends | bytes each |")
            print("|---|---:|---:|---:|")
            await measure("link, pages of 512", link, count, 0, 512)
            await measure("link, pages of 64", link, count, 10**6, PAGE_ENTRIES_MAX)
            await measure("single posts, 4 at once, pages of 64", posts, count // 10, 2 * 10**6, PAGE_ENTRIES_MAX)
            await link.close()
            await session.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    uvloop.run(main(parser.parse_args().count))
