"""The connection to the store: one server, or a cluster. It refuses to know what is kept there.

A cluster has many slots, and a script may touch the keys of one only. All keys of a twin share a slot (`keys`), so
whoever works on many twins at once splits his work by twin there, and on a single server does not.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as StoreConnectionError

from relay.process_settings import CLUSTER_SCHEMES
from rmb_peer.logs import event

Store = Redis | RedisCluster


class _Cluster(RedisCluster):
    """The library's client, whose calls fail as what they are.

    When it loses one server it closes all connections, also those that other calls are using at that moment; these then
    fail by `AttributeError` or `RuntimeError`, from a stream that is gone.
    """

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """See `RedisCluster.execute_command`."""
        try:
            return await super().execute_command(*args, **kwargs)
        except (AttributeError, RuntimeError) as error:
            raise StoreConnectionError("the connection was closed under a call") from error


STORE_ERRORS = (RedisError, RedisClusterException, OSError)
"""Everything by which a call can fail."""

_NOT_NOW = (ClusterDownError, TryAgainError, AskError, RedisClusterException)
"""A cluster that is finding out who has which slot."""

CALLS_MAX = 16
"""Calls to a cluster at once for one piece of work; a guess: enough to keep some nodes busy."""

CONNECT_S_MAX = 2.0
"""A guess; the store is close by."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def says_no(error: BaseException) -> bool:
    """Whether the store has answered, and asking again will not help."""
    return isinstance(error, ResponseError) and not isinstance(error, _NOT_NOW)


def is_cluster(store: Store) -> bool:
    """Whether keys are spread over several servers."""
    return isinstance(store, RedisCluster)


def connect(urls: Sequence[str], *, cluster: bool, timeout_s: float | None, once: bool = False) -> Store:
    """A connection, which is made when it is first used.

    Args:
        urls: of the server; of some servers of a cluster, any of which tells about the others.
        cluster: whether it is one.
        timeout_s: longest wait for one answer.
        once: whether commands are sent once only, because whoever sends them repeats them with care.

    Raises:
        ValueError: it is no URL of a store.
    """
    if not cluster:
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0)} if once else {}
        return Redis.from_url(urls[0], socket_timeout=timeout_s, socket_connect_timeout=CONNECT_S_MAX, **options)
    first = urlsplit(urls[0])
    if first.scheme not in CLUSTER_SCHEMES:
        raise ValueError("a cluster is reached by redis://host:port or rediss://host:port")
    nodes = []
    for url in urls:
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("each URL of a cluster needs a host")
        nodes.append(ClusterNode(parts.hostname, parts.port or 6379))
    return _Cluster(
        startup_nodes=nodes,
        username=first.username,
        password=first.password,
        ssl=first.scheme == "rediss",
        socket_timeout=timeout_s,
        socket_connect_timeout=CONNECT_S_MAX,
    )


def connect_for_news(store: Store, urls: Sequence[str]) -> Redis:
    """A connection on which news can be waited for, without limit. On a cluster any server will do: each passes news
    on to all others; so another one may be chosen each time.

    Args:
        store: the connection for everything else.
        urls: of the server, or some of the cluster.
    """
    url = urls[0]
    known = store.get_nodes() if isinstance(store, RedisCluster) else []
    if known:
        node = secrets.choice(known)
        login, at, _ = urlsplit(url).netloc.rpartition("@")
        url = urlsplit(url)._replace(netloc=f"{login}{at}{node.host}:{node.port}").geturl()
    news = connect([url], cluster=False, timeout_s=None, once=True)
    assert isinstance(news, Redis)
    return news


async def says_cluster(store: Redis) -> bool:
    """Whether a server says that it is part of a cluster.

    Raises:
        RedisError, OSError: no answer.
    """
    found: Any = await store.info("cluster")
    return bool(found.get("cluster_enabled"))


async def detect_cluster(url: str, timeout_s: float) -> bool:
    """Ask the server behind a URL whether it is part of a cluster; one that cannot be asked is taken for a single one,
    and whoever uses it next finds out what is wrong.
    """
    store = connect([url], cluster=False, timeout_s=None, once=True)
    assert isinstance(store, Redis)
    try:
        async with asyncio.timeout(timeout_s):
            return await says_cluster(store)
    except (*STORE_ERRORS, TimeoutError):
        return False
    finally:
        await store.aclose()


async def persist(
    send: Callable[[], Awaitable[Result]], give_up_at: float | None, log: logging.Logger, retry_s: tuple[float, float]
) -> Result:
    """Send until the store answers. An answer that says no is raised at once: asking again will not help.

    Args:
        send: does it once.
        give_up_at: when its error is raised all the same, by the event loop's clock; `None` for never.
        log: is told of each failure.
        retry_s: the first pause, and the longest; each is twice the one before.
    """
    pause_s, pause_s_max = retry_s
    while True:
        try:
            return await send()
        except STORE_ERRORS as error:
            if says_no(error):
                raise
            if give_up_at is not None and asyncio.get_running_loop().time() + pause_s > give_up_at:
                raise
            event(log, logging.WARNING, "the store does not answer, trying again", reason=type(error).__name__)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, pause_s_max)


async def by_group(
    items: Sequence[Item],
    group_of: Callable[[Item], Hashable],
    call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
) -> list[Result]:
    """Carry out items group by group, some groups at once; the results in the order of the items.

    Items of one group keep their order, and travel together.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(group_of(item), []).append(index)
    gate = asyncio.Semaphore(CALLS_MAX)
    results: dict[int, Result] = {}

    async def run(indices: list[int]) -> None:
        async with gate:
            found = await call([items[index] for index in indices])
        results.update(zip(indices, found, strict=True))

    if len(groups) == 1:
        await run(next(iter(groups.values())))
    else:
        await asyncio.gather(*map(run, groups.values()))
    return [results[index] for index in range(len(items))]
