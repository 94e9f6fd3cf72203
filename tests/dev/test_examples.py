"""The examples that `dev` prints do what they say, word for word, against a real Valkey."""

import asyncio
import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from rmb_peer.dev.examples import examples
from tests.support.gateway_script import response, scripted_gateway
from tests.support.processes import ROOT, environment
from tests.support.services import valkey


def _echo(request: dict[str, Any]) -> list[bytes | dict[str, Any]]:
    assert request["dst"] == [2]
    assert request["cmd"] == "echo"
    return [response(request, source="2")]


def path_with_redis_cli(folder: Path) -> str:
    """A search path on which `redis-cli` is found: the real one, or a stand-in."""
    if not shutil.which("redis-cli"):
        folder.mkdir()
        script = folder / "redis-cli"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/support/redis_cli.py "$@"\n')
        script.chmod(0o700)
    return f"{folder}:{os.environ['PATH']}"


async def run_example(text: str, path: str) -> tuple[int, str]:
    """Paste it into a shell."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", text, env=environment(PATH=path), stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize("tool", ["rmb-peer", "redis-cli", "python", "bash"])
async def test_each_example_gets_its_answer(tmp_path: Path, tool: str) -> None:
    """Pasted into a shell, it ends well and prints the answer."""
    async with (
        valkey(tmp_path / "valkey", port=0) as (server, _),
        Redis.from_url(server.url, socket_timeout=None) as redis,
        scripted_gateway(redis, _echo),
    ):
        code, out = await run_example(examples(server.url, 2, "echo")[tool], path_with_redis_cli(tmp_path / "bin"))
    assert code == 0
    if tool == "redis-cli":
        answer = json.loads(out.splitlines()[-1])
        assert (base64.b64decode(answer["dat"]), answer["src"]) == (b"hello", "2")
    else:
        assert out == "hello\n"


def test_examples_do_not_share_their_lists() -> None:
    """Each waits on a list of its own, so that none takes another's answer."""
    texts = examples("redis://127.0.0.1:1", 2, "echo")
    assert set(texts) == {"rmb-peer", "redis-cli", "python", "bash"}
    lists = [text.split("answers.")[1].split('"')[0] for name, text in texts.items() if name != "rmb-peer"]
    assert len(set(lists)) == len(lists) == 3
