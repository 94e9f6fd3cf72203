"""Connections to a store, and work that is split among the servers of a cluster."""

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ClusterDownError, RedisClusterException, ResponseError

from relay.store import CALLS_MAX, by_group, connect, connect_for_news, is_cluster, says_no


async def test_one_server_or_many() -> None:
    """What a connection is, is what was asked for."""
    one = connect(["redis://127.0.0.1:1"], cluster=False, timeout_s=1.0)
    many = connect(["redis://127.0.0.1:1", "redis://127.0.0.1:2"], cluster=True, timeout_s=1.0)
    assert isinstance(one, Redis) and not is_cluster(one)
    assert isinstance(many, RedisCluster) and is_cluster(many)
    assert isinstance(connect_for_news(many, ["redis://127.0.0.1:1"]), Redis)


@pytest.mark.parametrize("url", ["unix:///tmp/x", "redis://"])
async def test_what_is_no_cluster(url: str) -> None:
    """A cluster has hosts."""
    with pytest.raises(ValueError, match="cluster"):
        connect([url], cluster=True, timeout_s=1.0)


async def test_groups_travel_together_and_answers_come_in_order() -> None:
    """Each group is one call with its items in order, a bounded number at once."""
    calls: list[list[int]] = []

    async def call(items: Sequence[int]) -> list[str]:
        calls.append(list(items))
        return [f"r{item}" for item in items]

    items = [n * 7 % 100 for n in range(100)]
    assert await by_group(items, lambda n: n % (2 * CALLS_MAX), call) == [f"r{item}" for item in items]
    assert len(calls) == 2 * CALLS_MAX
    for group in calls:
        assert group == [item for item in items if item % (2 * CALLS_MAX) == group[0] % (2 * CALLS_MAX)]


def test_no_is_an_answer() -> None:
    """A refusal is final; a cluster that looks for its slots, or a lost connection, is not."""
    assert says_no(ResponseError("WRONGTYPE"))
    assert not says_no(ClusterDownError("down"))
    assert not says_no(RedisClusterException("no slots"))
    assert not says_no(ConnectionError())
