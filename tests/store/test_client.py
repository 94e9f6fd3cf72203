"""The client on real servers and on servers that misbehave: signing in, reconnecting, waiting, failing."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from rmb_peer.local.redis_client import open_redis
from rmb_peer.store import wire as wire_module
from rmb_peer.store.address import StoreAddress
from rmb_peer.store.client import StoreClient
from rmb_peer.store.script import Script
from tests.support.certificates import issue
from tests.support.services import valkey

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client_of(url: str, answer_s_max: float = 30.0, **options: Any) -> AsyncIterator[StoreClient]:
    """A client of ours for a URL."""
    redis = open_redis(url, **options)
    client = StoreClient(StoreAddress.of(redis), answer_s_max=answer_s_max)
    try:
        async with asyncio.timeout(120):
            yield client
    finally:
        await client.close()
        await redis.aclose()


@asynccontextmanager
async def scripted(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that does what it is told; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def commands(reader: asyncio.StreamReader) -> AsyncIterator[list[bytes]]:
    """Commands as they come."""
    while head := await reader.readline():
        words = []
        for _ in range(int(head[1:])):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        yield words


async def test_many_callers_each_get_their_answer(tmp_path: Path) -> None:
    """Answers find their callers, also when callers outnumber what may be under way."""
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        count = 2 * wire_module.COMMANDS_MAX
        answers = await asyncio.gather(*(client.call(("ECHO", f"{n}")) for n in range(count)))
        assert answers == [b"%d" % n for n in range(count)]


@pytest.mark.parametrize("port", [None, 0], ids=["unix", "tcp"])
async def test_it_signs_in_as_redis_py_does(tmp_path: Path, port: int | None) -> None:
    """User, password, database and client name of the URL count, on a port and on a Unix socket."""
    async with valkey(tmp_path, port=port) as (server, redis):
        admin: Any = redis
        await admin.acl_setuser("gateway", enabled=True, passwords=["+sécret"], keys=["*"], commands=["+@all"])
        host = server.url.replace("://", "://gateway:s%C3%A9cret@")
        url = f"{host}?db=3" if port is None else f"{host}/3"
        async with client_of(url, client_name="our-name") as client:
            assert await client.call(("ACL", "WHOAMI")) == b"gateway"
            info = await client.call(("CLIENT", "INFO"))
            assert b"name=our-name" in info
            assert b"db=3" in info


@pytest.mark.parametrize("url", ["redis://:wrong@{}", "redis://nobody:wrong@{}", "redis://{}", "redis://{}/99"])
async def test_refusals_at_the_door_are_those_of_redis_py(tmp_path: Path, url: str) -> None:
    """A wrong password, none, and a database that is not there: same class and same words."""
    async with valkey(tmp_path, port=0) as (server, redis):
        admin: Any = redis
        await admin.ping()
        if "99" not in url:
            await admin.config_set("requirepass", "right")
        place = url.format(f"127.0.0.1:{server.port}")
        theirs: Any = open_redis(place, protocol=2)
        with pytest.raises(exceptions.RedisError) as expected:
            await theirs.get("key")
        await theirs.aclose()
        async with client_of(place) as client:
            with pytest.raises(exceptions.RedisError) as seen:
                await client.call(("GET", "key"))
        assert (type(seen.value), str(seen.value)) == (type(expected.value), str(expected.value))


async def test_refusals_of_commands_are_those_of_redis_py(tmp_path: Path) -> None:
    """Full memory, a wrong type, no permission, an unknown command: same class and same words."""
    async with valkey(tmp_path) as (server, redis), client_of(server.url) as client:
        theirs: Any = redis
        await theirs.lpush("list", "1")
        await theirs.config_set("maxmemory", 1)
        await theirs.execute_command("ACL", "SETUSER", "default", "resetkeys", "~list")
        for command in (("SET", "list", "x"), ("GET", "list"), ("GET", "other"), ("WHAT",), ("EVALSHA", "0" * 40, 0)):
            with pytest.raises(exceptions.RedisError) as expected:
                await theirs.execute_command(*command)
            with pytest.raises(exceptions.RedisError) as seen:
                await client.call(command)
            assert (type(seen.value), str(seen.value)) == (type(expected.value), str(expected.value))
        assert await client.call(("LLEN", "list")) == 1


async def test_a_store_that_loads_its_data(tmp_path: Path) -> None:
    """It is away, as with redis-py: LOADING is a `ConnectionError`."""

    async def loading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for _ in commands(reader):
            writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")

    async with scripted(loading) as port, client_of(f"redis://127.0.0.1:{port}") as client:
        with pytest.raises(exceptions.BusyLoadingError, match="loading the dataset"):
            await client.call(("GET", "key"))


async def test_a_connection_cut_in_the_middle_of_answers() -> None:
    """What was answered is answered; the rest fails as lost; the next call connects anew."""
    connections = 0

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        number = 0
        async for _ in commands(reader):
            number += 1
            if connections == 1 and number == 5:
                writer.write(b":1\r\n:2\r\n$10\r\nhalf")
                await writer.drain()
                return
            if connections > 1:
                writer.write(b"+again\r\n")

    async with scripted(cut) as port, client_of(f"redis://127.0.0.1:{port}") as client:
        answers = await asyncio.gather(*(client.call(("X",)) for _ in range(5)), return_exceptions=True)
        assert answers[:2] == [1, 2]
        assert [type(answer) for answer in answers[2:]] == [exceptions.ConnectionError] * 3
        assert await client.call(("X",)) == b"again"
        assert connections == 2


async def test_nobody_there_fails_in_the_words_of_redis_py(unused_tcp_port: int) -> None:
    """Whoever reads the log sees the same sentence as from the other client."""
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    theirs: Any = open_redis(url)
    with pytest.raises(exceptions.ConnectionError) as expected:
        await theirs.ping()
    async with client_of(url) as client:
        seen = await asyncio.gather(*(client.call(("PING",)) for _ in range(3)), return_exceptions=True)
    assert {type(error) for error in seen} == {exceptions.ConnectionError}
    assert {str(error) for error in seen} == {str(expected.value)}
    await theirs.aclose()


async def test_cancelled_callers_disturb_nobody(tmp_path: Path) -> None:
    """Some give up while connecting, some while their command is under way; the others get their own answers."""
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        for _ in range(2):
            calls = [asyncio.create_task(client.call(("ECHO", f"{n}"))) for n in range(20)]
            await asyncio.sleep(0)
            for call in calls[::3]:
                call.cancel()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            for number, answer in enumerate(answers):
                if number % 3 == 0:
                    assert isinstance(answer, asyncio.CancelledError)
                else:
                    assert answer == b"%d" % number


async def test_callers_that_come_while_it_connects(tmp_path: Path) -> None:
    """One comes in every turn of the loop, also in that in which the connection stands: all get their answers."""
    async with valkey(tmp_path) as (server, _):
        for _ in range(5):
            async with client_of(server.url, client_name="name") as client:
                calls = [asyncio.create_task(client.call(("ECHO", "0")))]
                while not calls[0].done():
                    for _ in range(2):
                        calls.append(asyncio.create_task(client.call(("ECHO", f"{len(calls)}"))))
                        await asyncio.sleep(0)
                assert await asyncio.gather(*calls) == [b"%d" % number for number in range(len(calls))]


async def test_a_script_that_the_store_does_not_know_is_told(tmp_path: Path) -> None:
    """After SCRIPT FLUSH a script runs as before; large arguments arrive as they are."""
    script = Script(b"return {KEYS[1], ARGV[1], #ARGV[2], ARGV[3]}", ["key"], [5])
    value = os.urandom(wire_module.LARGE_BYTES)
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        for large in (False, True):
            await client.call(("SCRIPT", "FLUSH"))
            answer = await client.run(script, (value, b"\r\n"), large)
            assert answer == [b"key", b"5", len(value), b"\r\n"]


async def test_a_stopped_server_is_noticed(tmp_path: Path) -> None:
    """One that does not answer is given up after the limit; when it goes on, so do we."""
    async with valkey(tmp_path) as (server, redis):
        admin: Any = redis
        pid = (await admin.info("server"))["process_id"]
        async with client_of(server.url, answer_s_max=0.2) as client:
            os.kill(pid, signal.SIGSTOP)
            try:
                answers = await asyncio.gather(*(client.call(("PING",)) for _ in range(3)), return_exceptions=True)
            finally:
                os.kill(pid, signal.SIGCONT)
            assert [(type(answer), str(answer)) for answer in answers] == [(exceptions.TimeoutError, "no answer")] * 3
        async with client_of(server.url) as client:
            assert await client.call(("PING",)) == b"PONG"


async def test_large_values_go_both_ways(tmp_path: Path) -> None:
    """16 MiB arrive as they are, with other calls before and behind."""
    value = os.urandom(1024) * 16 * 1024
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        calls = [client.call(("ECHO", "a")), client.call(("SET", "k", value), True), client.call(("ECHO", "b"))]
        assert await asyncio.gather(*calls) == [b"a", b"OK", b"b"]
        assert await client.call(("GET", "k")) == value


async def test_tls_checks_the_server(tmp_path: Path) -> None:
    """`rediss://` talks to a server whose certificate is good, and to no other."""
    pem = issue(1)
    certificate, key = pem.write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for _ in commands(reader):
            writer.write(b"+PONG\r\n")

    async with scripted(pong, context) as port:
        async with client_of(f"rediss://localhost:{port}?ssl_cert_reqs=none&ssl_check_hostname=False") as client:
            assert await client.call(("PING",)) == b"PONG"
        async with client_of(f"rediss://localhost:{port}") as client:
            with pytest.raises(exceptions.ConnectionError, match=r"(?i)certificate.verify.failed"):
                await client.call(("PING",))


async def test_a_closed_client_connects_no_more(tmp_path: Path) -> None:
    """Calls under way fail, later ones too."""
    async with valkey(tmp_path) as (server, _), client_of(server.url) as client:
        await client.call(("PING",))
        waiting = asyncio.create_task(client.call(("BLPOP", "list", 0)))
        await asyncio.sleep(0)
        await client.close()
        for call in (waiting, client.call(("PING",))):
            with pytest.raises(exceptions.ConnectionError, match="closed"):
                await call


async def test_noise_ends_the_connection_and_not_the_client(tmp_path: Path) -> None:
    """A server that talks another language is an error for those who asked; the client connects again."""
    connections = 0

    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if connections == 1 else b"+PONG\r\n")
        await reader.read()

    async with scripted(noise) as port, client_of(f"redis://127.0.0.1:{port}") as client:
        with pytest.raises(exceptions.ConnectionError, match="no Redis protocol"):
            await client.call(("PING",))
        assert await client.call(("PING",)) == b"PONG"


async def test_a_client_of_redis_py_is_only_described(tmp_path: Path) -> None:
    """Taking over an address opens no connection, and keeps passwords out of what is printed."""
    redis = Redis.from_url("redis://user:hidden@127.0.0.1:1/2")
    address = StoreAddress.of(redis)
    assert ("AUTH", "user", "hidden") in address.hello
    assert "hidden" not in repr(address)
    await redis.aclose()
