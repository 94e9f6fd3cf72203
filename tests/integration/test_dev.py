"""`rmb-peer dev` from end to end: real processes, the examples it prints, and nothing left behind."""

import asyncio
import json
import os
import signal
import stat
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import background, run_peer, start_peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")

PARTS = ["valkey-a", "valkey-b", "relay", "gateway-a", "gateway-b", "echo"]


def processes_of(folder: Path) -> set[int]:
    """Every process of this machine that inherited `TMPDIR=folder`, or that works inside it.

    Both, because a Valkey writes its title over its environment.
    """
    wanted = f"TMPDIR={folder}".encode()
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                inherited = wanted in (process / "environ").read_bytes().split(b"\0")
                if inherited or str((process / "cwd").readlink()).startswith(str(folder)):
                    found.add(int(process.name))
            except OSError:  # gone, or not ours
                continue
    return found


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)  # polls real processes


@asynccontextmanager
async def running_dev(*arguments: str, folder: Path) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """`rmb-peer dev --json`, once its message came back."""
    process = await start_peer("dev", "--json", *arguments, env={"TMPDIR": str(folder)})
    async with background(process):
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, "dev ended before its message came back"
        yield process, json.loads(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where everything of one `dev` lies, and by which its processes are found."""
    made = tmp_path / "t"
    made.mkdir()
    return made


async def test_once_sends_a_message_shows_its_way_and_stops(folder: Path) -> None:
    """Exit code 0, every step with its time, plain text without escape codes, no process and no folder left."""
    ended = await run_peer("dev", "--once", env={"TMPDIR": str(folder), "FORCE_COLOR": "1"}, timeout_s=60)
    assert (ended.code, ended.err) == (0, "")
    out = ended.out.decode()
    assert "\x1b" not in out
    steps = out.split("One message, step by step:\n")[1].splitlines()[1:15]
    assert [line.split()[1] for line in steps] == [
        "client", "gateway-a", "gateway-a", "relay", "gateway-b", "gateway-b", "echo", "echo", "gateway-b",
        "gateway-b", "relay", "gateway-a", "gateway-a", "client",
    ]  # fmt: skip
    assert all(float(line.split()[0]) >= 0 for line in steps)
    assert 'The answer: {"hello":"world"}' in out
    assert processes_of(folder) == set()
    assert list(folder.iterdir()) == []


async def test_examples_work_secrets_stay_secret_and_ctrl_c_ends_everything(tmp_path: Path, folder: Path) -> None:
    """Each printed example gets its answer; mnemonics are in files of ours alone; Ctrl-C ends all with exit code 0."""
    from tests.dev.test_examples import path_with_redis_cli, run_example

    keep = folder / "keep"
    async with running_dev("--keep", str(keep), "-k", "ed25519", folder=folder) as (process, shown):
        assert [part["name"] for part in shown["parts"]] == PARTS
        assert (shown["problem"], shown["answer"], shown["folder"]) == (None, '{"hello":"world"}', str(keep))
        assert all(step["ms"] is not None for step in shown["steps"])
        assert processes_of(folder) >= {part["pid"] for part in shown["parts"]}
        path = path_with_redis_cli(tmp_path / "bin")
        for tool, text in shown["examples"].items():
            code, out = await run_example(text, path)
            assert code == 0
            assert ("aGVsbG8=" if tool == "redis-cli" else "hello") in out

        mnemonics = [keep / f"gateway-{side}.mnemonic" for side in "ab"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in mnemonics] == [0o600, 0o600]
        arguments = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(folder))
        for file in mnemonics:
            assert file.read_text().split()[0].encode() + b" " not in arguments.replace(b"\0", b" ")
            assert file.read_text().strip() not in json.dumps(shown)

        process.send_signal(signal.SIGINT)
        output = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, *output) == (0, b"", b"")
        assert processes_of(folder) == set()

    again = await run_peer("dev", "--once", "--json", "--keep", str(keep), "-k", "ed25519", timeout_s=60)
    twins = [{part["twin"] for part in made["parts"] if part["twin"]} for made in (shown, json.loads(again.out))]
    assert twins[0] == twins[1] == {1, 2}


async def test_a_part_that_dies_ends_everything_with_its_last_words(folder: Path) -> None:
    """Exit code 1, the part's name and its last log lines on standard error, nothing left."""
    async with running_dev(folder=folder) as (process, shown):
        pids = {part["name"]: part["pid"] for part in shown["parts"]}
        os.kill(pids["relay"], signal.SIGKILL)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 1
        assert "rmb-peer dev: relay was ended by SIGKILL." in err.decode()
        assert '"event":"listening"' in err.decode()
        assert "Traceback" not in err.decode()
        await until(lambda: processes_of(folder) == set())


async def test_nothing_survives_a_killed_dev(folder: Path) -> None:
    """Even when dev itself is killed and cannot stop anything, no process is left."""
    async with running_dev(folder=folder) as (process, shown):
        assert processes_of(folder) >= {part["pid"] for part in shown["parts"]}
        process.kill()
        await process.wait()
        await until(lambda: processes_of(folder) == set())


@pytest.mark.parametrize("seen", [0, 2, 4])
async def test_a_signal_while_it_starts_stops_what_runs(folder: Path, seen: int) -> None:
    """However many parts run by then, all are stopped, and the exit code is 0."""
    process = await start_peer("dev", env={"TMPDIR": str(folder)})
    async with background(process):
        assert process.stdout is not None
        assert await process.stdout.readline() == b"starting ...\n"
        await until(lambda: len(processes_of(folder)) > seen)
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")
        assert processes_of(folder) == set()


async def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """Exit code 1 and one line."""
    (tmp_path / "file").write_text("in the way")
    ended = await run_peer("dev", "--once", "--keep", str(tmp_path / "file"))
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "cannot use the folder" in ended.err
