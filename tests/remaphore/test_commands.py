"""The vectors `exec` and `cli` with real processes, and the commands that need no server."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rmb_peer.remaphore import cli, execute
from rmb_peer.remaphore.core import configuration, program, replies
from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.wire import Message
from tests.support.processes import Ended, environment
from tests.support.remaphore import nats
from tests.support.remaphore_vectors import VECTORS, ids, public, settings

TIME_NS = 1_700_000_000_999_999_999
Run = Callable[..., Ended]
STAMP = re.compile(r"^[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} ")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process."""

    def run_here(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["remaphore", *arguments])
        code = cli.main()
        out, err = capfd.readouterr()
        return Ended(code, out.encode(), err)

    return run_here


# --- exec -------------------------------------------------------------------------------------------------------------


def message_of(case: dict[str, Any]) -> Message:
    return Message(
        public(case["sender"]), b"", case["destination"].encode(), TIME_NS, bytes.fromhex(case["uuid_hex"]),
        case["verb"].encode(), True, bytes.fromhex(case["payload_hex"]),
    )  # fmt: skip


async def outcome_of(
    argv: list[bytes], variables: dict[bytes, bytes] | None = None, keep: int = 10**6
) -> execute.Outcome:
    return await execute.run(argv, variables or {}, keep, asyncio.Event())


@pytest.mark.parametrize("case", VECTORS["exec"]["cases"], ids=ids)
async def test_commands_answer_as_in_go(case: dict[str, Any]) -> None:
    """Argument list, environment, output, exit code and the reason of a failure."""
    message = message_of(case)
    matched = Filter(settings(case["config"]).destination).matched_name(message.destination)
    argv = program.arguments([word.encode() for word in case["command"]], message)
    outcome = await outcome_of(argv, program.environment(message, matched))
    assert replies.answer(outcome.exit_code, outcome.output).hex() == case["reply_payload_hex"]
    assert outcome.failure == (case["logged_error"] or "")


@pytest.mark.parametrize(("size", "runs"), [(131057, True), (131058, False)])
async def test_a_payload_that_fits_one_variable(size: int, runs: bool) -> None:
    """At the limit of the kernel it is passed, one byte above the command is not started."""
    message = Message(public("alpha"), b"", b"**", 1, b"u", b"ping", True, b"x" * size)
    argv = program.arguments([b"/bin/sh", b"-c", b'printf %s "$1" | wc -c'], message)
    outcome = await outcome_of(argv, program.environment(message, None))
    if runs:
        assert outcome.output.strip() == str(size).encode()
    else:
        assert (outcome.exit_code, outcome.output) == (-1, b"")
        assert outcome.failure == "fork/exec /bin/sh: argument list too long"


async def test_a_command_is_found_in_our_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no PATH itself; one that is nowhere is an outcome, too."""
    (tmp_path / "mine").write_text("#!/bin/sh\necho ${PATH_SEEN-none} $1\n")
    (tmp_path / "mine").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await outcome_of([b"mine", b"x"])).output == b"none x\n"
    missing = await outcome_of([b"nowhere"])
    assert (missing.exit_code, missing.failure) == (-1, 'exec: "nowhere": executable file not found in $PATH')


async def test_output_is_bounded() -> None:
    """Up to the limit it is kept, the rest is counted, and the command is not held up."""
    for keep in (0, 99_999, 100_000, 200_000):
        outcome = await outcome_of([b"/bin/sh", b"-c", b"head -c 100000 /dev/zero"], {b"PATH": b"/usr/bin:/bin"}, keep)
        assert (len(outcome.output), outcome.left_out) == (min(keep, 100_000), max(0, 100_000 - keep))
        assert outcome.exit_code == 0


async def test_a_stopped_command_takes_its_family_with_it(tmp_path: Path) -> None:
    """Grandchildren are killed as well, and what was said before is kept (R14)."""
    stop = asyncio.Event()
    path = os.fsencode(tmp_path / "pid")
    script = b'sleep 60 & echo $! >"$0.new"; mv "$0.new" "$0"; echo before; wait'
    running = asyncio.create_task(
        execute.run([b"/bin/sh", b"-c", script, path], {b"PATH": b"/usr/bin:/bin"}, 1000, stop)
    )
    async with asyncio.timeout(60):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)  # polls a real process
        await asyncio.sleep(0)
        stop.set()
        outcome = await running
        assert outcome.exit_code == -1
        assert outcome.failure == "signal: killed"
        grandchild = Path(f"/proc/{int((tmp_path / 'pid').read_text())}/stat")
        while grandchild.exists() and grandchild.read_text().split()[2] != "Z":
            await asyncio.sleep(0.01)


# --- cli --------------------------------------------------------------------------------------------------------------


def first_line(err: str) -> str:
    return STAMP.sub("", err.split("\n")[0])


def needs_server(case: dict[str, Any]) -> bool:
    return any(re.search(r"(alpha|bravo)\.conf", word) for word in case["args"])


@pytest.mark.parametrize(
    "case", [c for c in VECTORS["cli"]["cases"] if not needs_server(c)], ids=lambda c: " ".join(c["args"])
)
def test_command_lines_without_a_server(run: Run, case: dict[str, Any]) -> None:
    """Exit code, first line on standard error, and an empty standard output, as the Go program has them."""
    ended = run(*case["args"])
    assert (ended.code, first_line(ended.err), ended.out == b"") == (
        case["exit"], case["stderr_first_line"], case["stdout_empty"],
    )  # fmt: skip


async def test_command_lines_with_a_server(tmp_path: Path) -> None:
    """The same for command lines that reach NATS, as processes."""
    cases = [case for case in VECTORS["cli"]["cases"] if needs_server(case)]
    async with nats(tmp_path) as server:
        jobs = []
        for number, case in enumerate(cases):  # a folder and a subject for each case: they must not hear each other
            folder = tmp_path / str(number)
            folder.mkdir()
            for name, text in VECTORS["configs"].items():
                text = text.replace("nats://127.0.0.1:4222", server.url).replace(": remaphore", f": case{number}")
                (folder / f"{name}.conf").write_text(text)
                (folder / f"{name}.conf").chmod(0o640)
            jobs.append((str(folder), [re.sub(r"(\w+\.conf)$", rf"{folder}/\1", word) for word in case["args"]]))
        batch = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.remaphore_batch", env=environment(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            codes = json.loads((await batch.communicate(json.dumps(jobs).encode()))[0])
    got = [
        (case["args"], code, first_line(Path(folder, "err").read_text()), Path(folder, "out").read_bytes() == b"")
        for case, code, (folder, _) in zip(cases, codes, jobs, strict=True)
    ]
    assert got == [(case["args"], case["exit"], case["stderr_first_line"], case["stdout_empty"]) for case in cases]


# --- without a server -------------------------------------------------------------------------------------------------


def test_the_example_configuration(run: Run) -> None:
    """-C prints one that parses, wins over other mistakes, and has a new key each time."""
    one, other = run("-C", "-r", "-s"), run("-C")
    assert (one.code, one.err) == (0, "")
    ours, doubts = configuration.parse(one.out)
    assert doubts == []
    assert configuration.show(ours).encode() + b"\n" == one.out
    assert configuration.parse(other.out)[0].identities != ours.identities


def test_new_keys_are_lines_that_can_be_pasted(run: Run) -> None:
    """The identity line and the peer line belong together and are accepted."""
    made = run("keys", "new", "-D", "com.example.x", "-v", "ping,Deploy")
    identity, peer = [line for line in made.out.decode().splitlines() if not line.startswith("#")]
    text = f"server: a\ncredentials: b\ndestination: c\n[Identities]\n{identity}\n[Peers]\n{peer}\n"
    ours, doubts = configuration.parse(text.encode())
    assert doubts == []
    assert ours.identities[0].public == ours.peers[0].public
    assert ours.peers[0].destination == b"com.example.x"
    assert ours.peers[0].verbs == (b"ping", b"deploy")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["keys"], "keys knows one command"),
        (["keys", "new", "-D", "a b"], "without blanks"),
        (["wait"], "wait needs -u"),
        (["wait", "-u", "x", "y"], "no arguments"),
        (["wait", "-u", "x", "--count", "0"], "--count takes"),
        (["wait", "-u", "x", "--of", "many"], 'invalid value "many" for flag -of'),
        (["wait", "-u", "x", "-d", "-D", "y"], "mutually exclusive"),
        (["wait", "-u", "x", "--retention", "0s"], "at least 1s"),
        (["lock"], "lock needs a name"),
        (["lock", "name"], "and a command"),
        (["lock", "name", "--lease", "1500ms", "--", "true"], "whole seconds"),
        (["lock", "name", "--lease", "0s", "--", "true"], "whole seconds"),
        (["lock", "name", "--lease", "25h", "--", "true"], "whole seconds"),
        (["check", "x"], "no arguments"),
        (["check", "-c", "/nonexistent"], "open /nonexistent: no such file or directory"),
        (["-c", "/"], "open /: is a directory"),
        (["--durable"], "needs -u or -v"),
    ],
)
def test_usage_errors_end_with_2(run: Run, arguments: list[str], text: str) -> None:
    """One line that says what to do, and never a traceback."""
    ended = run(*arguments)
    assert ended.code == 2
    assert text in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == b""


@pytest.mark.parametrize("command", [["-h"], ["wait", "-h"], ["lock", "-h"], ["keys", "new", "-h"], ["check", "-h"]])
def test_help_is_no_error(run: Run, command: list[str]) -> None:
    """The usage text goes to standard error, and the exit code is 0."""
    ended = run(*command)
    assert ended.code == 0
    assert ended.err.startswith("Usage of remaphore")


@pytest.mark.parametrize(
    ("mode", "warns"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True), (0o666, True), (0o604, True)]
)
def test_a_configuration_that_others_can_read(run: Run, tmp_path: Path, mode: int, warns: bool) -> None:
    """It holds private keys: the group may read it, everybody else is worth a warning (W17)."""
    path = tmp_path / "x.conf"
    path.write_text(VECTORS["configs"]["alpha"])
    path.chmod(mode)
    ended = run("-c", str(path), "-s", "-v", "reply")
    assert ended.code == 3
    assert ("WARNING" in ended.err) is warns
    assert VECTORS["keys"]["alpha"]["private"][:20] not in ended.err


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (["-h"], ("nats", "asyncio", "nacl", "orjson", "aiohttp")[:2]),
        (["-c", "/nonexistent", "-s"], ("nats", "asyncio", "aiohttp", "orjson")),
        (["-c", "CONFIG", "-s", "-v", "reply"], ("aiohttp", "orjson", "redis", "nats.js.object_store.x")),
    ],
)
def test_little_is_imported(tmp_path: Path, arguments: list[str], without: tuple[str, ...]) -> None:
    """A command in a shell loop pays for what it uses: no event loop for a usage error, no HTTP client for NATS."""
    path = tmp_path / "x.conf"
    path.write_text(VECTORS["configs"]["alpha"])
    argv = [str(path) if word == "CONFIG" else word for word in arguments]
    code = f"import sys; from rmb_peer.remaphore.cli import main; main({argv!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=30)
    loaded = done.stdout.decode().split()
    assert "rmb_peer.remaphore.cli" in loaded
    assert [name for name in without if name in loaded] == []


@pytest.mark.parametrize("value", ["nats://h:notaport", "http://h", "nats://user:hunter2@h:99999"])
def test_bad_servers_end_with_3(run: Run, tmp_path: Path, value: str) -> None:
    """With the library's form of the text, and without the password."""
    path = tmp_path / "x.conf"
    path.write_text(VECTORS["configs"]["alpha"].replace("nats://127.0.0.1:4222", value))
    path.chmod(0o600)
    ended = run("-c", str(path), "-s")
    assert ended.code == 3
    assert 'ERROR: parse "' in ended.err
    assert "hunter2" not in ended.err
