"""Two gateways on one store: who came later gives way; a killed predecessor is no obstacle."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.local import sole_gateway
from rmb_peer.local.redis_queues import connect
from rmb_peer.local.sole_gateway import AnotherGateway, claim, gateway_client_name, older_rivals
from tests.support.services import valkey

FIRST, SECOND = gateway_client_name(b"first"), gateway_client_name(b"second")


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with valkey(tmp_path, port=0) as (server, _):
        yield server.url


async def test_who_came_later_gives_way(url: str) -> None:
    """The first one stays, and does not even see the second as a rival; the error says what to do."""
    first, second = await connect(url, FIRST), await connect(url, SECOND)
    await claim(first, FIRST)
    with pytest.raises(AnotherGateway, match=r"another gateway uses this Redis database \(connected from .*--redis"):
        await claim(second, SECOND, patience_s=0.05)
    assert await older_rivals(first, FIRST) == []
    assert len(await older_rivals(second, SECOND)) == 1
    await first.aclose()
    await second.aclose()


async def test_two_that_start_at_once_do_not_both_give_way(url: str) -> None:
    """Exactly one of them may run."""
    clients = {name: await connect(url, name) for name in (FIRST, SECOND)}
    results = await asyncio.gather(
        *(claim(client, name, patience_s=0.2) for name, client in clients.items()), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), AnotherGateway]
    for client in clients.values():
        await client.aclose()


async def test_a_predecessor_that_goes_is_waited_for(url: str) -> None:
    """A killed process is mostly still listed when its successor looks for the first time."""
    first, second = await connect(url, FIRST), await connect(url, SECOND)
    claiming = asyncio.create_task(claim(second, SECOND, patience_s=60.0))
    await asyncio.sleep(0)
    await first.aclose()
    await claiming
    await second.aclose()


async def test_another_database_and_other_clients_are_no_rivals(url: str) -> None:
    """One Redis may serve several gateways, each with a database of its own."""
    first, second = await connect(f"{url}/1", FIRST), await connect(url, SECOND)
    other = Redis.from_url(url, client_name="some-service")
    redis: Any = other
    await redis.ping()
    await claim(second, SECOND, patience_s=0.0)
    for client in (first, second, other):
        await client.aclose()


async def test_a_gateway_that_lost_its_machine_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections stay listed for minutes; idle ones are closed, so that nobody wakes up in between."""
    monkeypatch.setattr(sole_gateway, "DEAD_IDLE_S", 0)
    first, second = await connect(url, FIRST), await connect(url, SECOND)
    await claim(second, SECOND, patience_s=0.0)
    clients: Any = await second.client_list()
    assert FIRST not in {client["name"] for client in clients}
    await first.aclose()
    await second.aclose()


async def test_without_permission_to_look_it_starts_with_a_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A store whose rules forbid CLIENT LIST is used all the same."""
    client = await connect(url, FIRST)
    redis: Any = client
    await redis.execute_command("ACL", "SETUSER", "default", "-client|list")
    await claim(client, FIRST)
    assert "cannot see whether another gateway uses this store" in caplog.text
    await client.aclose()
