"""The programs in examples/ do what they say, against a real Valkey and a gateway by script.

They are written from the description of the Redis API alone, in Node, Python and bash.
"""

import asyncio
import base64
import json
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.gateway_script import response, scripted_gateway
from tests.support.processes import ROOT, Ended, background, environment
from tests.support.schemas import faults
from tests.support.services import emptied

PATIENCE_S = 120.0
"""bash takes two seconds of CPU for a large answer, which a busy machine makes long."""

EXAMPLES = ROOT / "examples"
CLIENTS = {"client.mjs": "node", "client.py": sys.executable, "client.sh": "bash"}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> list[str]:
    """How to start one of the clients; skips visibly where its interpreter is missing."""
    interpreter = shutil.which(CLIENTS[request.param])
    if interpreter is None:
        pytest.skip(f"{CLIENTS[request.param]} is not installed")
    return [interpreter, str(EXAMPLES / request.param)]


@pytest.fixture
async def store(store_of_worker: str) -> AsyncIterator[tuple[str, Redis]]:
    """`host:port` of an empty Valkey, and a client of it that may block."""
    async with emptied(store_of_worker) as redis:
        yield store_of_worker.removeprefix("redis://"), redis


async def run(*command: str) -> Ended:
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment())
    async with background(process):
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Ended(process.returncode, out, err.decode())


async def test_a_client_gets_its_answer_and_leaves_nothing(client: list[str], store: tuple[str, Redis]) -> None:
    """The request keeps to the schema of the Redis API; the payload comes back as bytes; no list is left."""
    address, redis = store

    def echo(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
        return [response(request, source="7", dat=base64.b64encode(b'{"a": "\xc3\xa9\\n"}\n').decode())]

    async with scripted_gateway(redis, echo) as seen:
        ended = await run(*client, address, "7", "zos.echo", 'text "ä"\n$x')
    assert (ended.code, ended.out, ended.err) == (0, b'{"a": "\xc3\xa9\\n"}\n', "")
    assert faults("local_request", seen[0]) == []
    assert (seen[0]["cmd"], seen[0]["dst"]) == ("zos.echo", [7])
    assert base64.b64decode(seen[0]["dat"]) == 'text "ä"\n$x'.encode()
    async with asyncio.timeout(60):
        while await redis.keys("*"):
            await asyncio.sleep(0.01)  # bash does not wait for the reply to its last command


async def test_a_client_takes_a_large_answer(client: list[str], store: tuple[str, Redis]) -> None:
    """An answer that comes in many pieces is put together."""
    address, redis = store
    data = bytes(range(256)) * 4096
    made = base64.b64encode(data).decode()
    async with scripted_gateway(redis, lambda request: [response(request, dat=made)]):
        ended = await run(*client, address, "7", "x")
    assert (ended.code, ended.out == data) == (0, True)


async def test_a_client_reports_an_error_answer(client: list[str], store: tuple[str, Redis]) -> None:
    """Exit code 1, code and text on standard error."""
    address, redis = store
    error = {"code": 103, "message": "unknown twin id '9'"}
    async with scripted_gateway(redis, lambda request: [response(request, source="", dat="", err=error)]):
        ended = await run(*client, address, "9", "x")
    assert (ended.code, ended.out) == (1, b"")
    assert "103" in ended.err
    assert "unknown twin id '9'" in ended.err


async def test_a_client_explains_wrong_usage(client: list[str]) -> None:
    """Exit code 2 and how it is meant."""
    ended = await run(*client, "127.0.0.1:1")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.startswith("usage: ")


async def test_the_service_answers(store: tuple[str, Redis]) -> None:
    """Requests as a gateway pushes them are answered in capitals, wrong ones with an error."""
    address, redis = store
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "service.py"), address, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    async with background(process):
        for payload, data, error in [(b'"hi"', b'"HI"', None), (b"5", b"", "send a JSON text")]:
            request = {
                "ver": 1, "ref": "u-1", "src": "7:web", "cmd": "upper", "exp": 60, "tag": None,
                "dat": base64.b64encode(payload).decode(), "ret": "msgbus.system.reply", "shm": None, "now": 1,
            }  # fmt: skip
            await redis.lpush("msgbus.upper", json.dumps(request))
            popped: Any = await redis.brpop(["msgbus.system.reply"], timeout=60)
            answer = json.loads(popped[1])
            assert faults("outgoing_response", answer) == []
            assert (answer["ref"], answer["dst"]) == ("u-1", "7:web")
            assert base64.b64decode(answer["dat"]) == data
            assert (answer["err"] and answer["err"]["message"]) == error
