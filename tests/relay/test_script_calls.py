"""Scripts on a store: over our own connection to a single server, and over the library's client as on a cluster."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from relay.script_calls import LibraryCalls, ScriptCalls, ServerCalls, script_calls
from relay.store import STORE_ERRORS, says_no
from rmb_peer.store.script import KeyedScript
from rmb_peer.store.wire import LARGE_BYTES
from tests.support.services import valkey

ECHO = KeyedScript("return {KEYS[1], KEYS[2] or '', ARGV[1], #ARGV}")
BROKEN = KeyedScript("return redis.call('HGET', KEYS[1])")

both = pytest.mark.parametrize("make", [ServerCalls, LibraryCalls])


def client_of(url: str) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=None)


@both
async def test_keys_and_arguments_arrive_whatever_their_number(
    make: Callable[[Redis], ScriptCalls], tmp_path: Path
) -> None:
    """Each call has its own keys and arguments; text, bytes and numbers arrive, large bytes too."""
    large = bytes(range(256)) * (LARGE_BYTES // 256 + 1)
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        calls = make(client)
        assert await calls.run(ECHO, ["a"], ["é"]) == [b"a", b"", "é".encode(), 1]
        assert await calls.run(ECHO, ["a", "b"], [b"\r\n\x00", 7, ""]) == [b"a", b"b", b"\r\n\x00", 3]
        assert await calls.run(ECHO, ["a", "b"], [large, 7], large=True) == [b"a", b"b", large, 2]
        await calls.close()


@both
async def test_a_store_that_has_forgotten_a_script_is_told_again(
    make: Callable[[Redis], ScriptCalls], tmp_path: Path
) -> None:
    """A store that was started anew, or told to forget its scripts, gets the script with the next call."""
    async with valkey(tmp_path) as (server, client), client_of(server.url) as own:
        calls = make(own)
        await calls.run(ECHO, ["a"], ["1"])
        await client.script_flush()
        assert await asyncio.gather(*(calls.run(ECHO, [str(n)], ["2"]) for n in range(3))) == [
            [b"%d" % n, b"", b"2", 1] for n in range(3)
        ]
        await calls.close()


@both
async def test_errors_have_one_set_of_classes(make: Callable[[Redis], ScriptCalls], tmp_path: Path) -> None:
    """A store that says no, and one that is away, raise `STORE_ERRORS`; only the first is not worth another try."""
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        calls = make(client)
        with pytest.raises(STORE_ERRORS) as no:
            await calls.run(BROKEN, ["a"], ["1"])
        assert says_no(no.value)
        await server.stop()
        with pytest.raises(STORE_ERRORS) as away:
            await calls.run(ECHO, ["a"], ["1"])
        assert not says_no(away.value)
        await calls.close()


async def test_a_single_server_gets_our_own_connection(tmp_path: Path) -> None:
    """The library's client tells where the server is, and is not used; after closing nothing can be called."""
    async with valkey(tmp_path) as (server, client), client_of(server.url) as own:
        calls = script_calls(own)
        await calls.run(ECHO, ["a"], ["1"])
        assert isinstance(calls, ServerCalls)
        assert {each["cmd"] for each in await client.client_list()} == {"client|list", "evalsha"}
        await calls.close()
        with pytest.raises(STORE_ERRORS):
            await calls.run(ECHO, ["a"], ["1"])
