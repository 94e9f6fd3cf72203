"""Many idle sessions on one relay: all of them are there, answer pings, and are gone afterwards.

What each costs is measured by `python -m tests.benchmarks --parts sessions`, since memory is no matter for a test.
"""

from pathlib import Path

import pytest

from rmb_peer.protocol.heartbeat import Rhythm
from rmb_peer.protocol.twin import Twin
from tests.benchmarks.sessions import IdleClients
from tests.support.hosted_registry import signer
from tests.support.relay import DOMAIN, Directory, relay, until

SESSIONS = 200


@pytest.mark.parametrize("protocol", ["rmb.1", "rmb.2"])
async def test_two_hundred_idle_sessions(tmp_path: Path, protocol: str) -> None:
    """None is lost while pings come and go, and none is left when the clients leave."""
    directory = Directory()
    for number in range(1, SESSIONS + 1):
        account = signer(str(number), "ed25519").account
        directory.twins[number] = Twin(number, account, frozenset({DOMAIN}), None)
    async with relay(tmp_path, directory, rhythm=Rhythm(idle_s=0.5, dead_s=600.0)) as bed:
        clients = await IdleClients.connect(bed.app.url, SESSIONS, protocol)
        await until(lambda: bed.app.metrics.sessions() == SESSIONS)
        await clients.leave()
        await until(lambda: bed.app.metrics.sessions() == 0)
        assert bed.app.metrics.signins == bed.app.metrics.evictions.total() == SESSIONS
