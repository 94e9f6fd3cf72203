"""What remembers: `remaphore wait`, `remaphore lock`, `remaphore check`, as processes against a real NATS server."""

import asyncio
import os
import signal
import time
from pathlib import Path

import nats as nats_library

from rmb_peer.remaphore.core.configuration import show
from tests.support.processes import Ended
from tests.support.remaphore import Nodes, Running, nats, open_gate


async def start(nodes: Nodes, node: str, command: str, *arguments: str) -> Running:
    """Start `remaphore COMMAND`; for a lock, `arguments` begins with its name."""
    if command == "lock":
        return await Running.start("lock", arguments[0], "-c", str(nodes.path(node)), *arguments[1:])
    return await Running.start(command, "-c", str(nodes.path(node)), *arguments)


async def run(nodes: Nodes, node: str, command: str, *arguments: str) -> Ended:
    return await (await start(nodes, node, command, *arguments)).end()


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- wait -------------------------------------------------------------------------------------------------------------


async def test_five_of_eight(tmp_path: Path) -> None:
    """Reports from before and after the start count, each peer once; five are enough, eight have to be known."""
    names = [f"n{n}" for n in range(8)]
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["boss", *names])
        await asyncio.gather(*(nodes.run(name, "-s", "--durable", "-u", "done", "ok") for name in names[:3]))
        await nodes.run("n0", "-s", "--durable", "-u", "done", "again")
        waiting = await start(nodes, "boss", "wait", "-u", "done", "--count", "5", "--of", "8", "-t", "60s")
        await waiting.says("Ready")
        for name in names[:3]:
            await waiting.prints(f"{name},".encode())
        await nodes.run("n3", "-s", "-u", "done", "two\nlines")  # not kept, but heard
        await waiting.prints(b"n3,two\nlines\n--< ")
        assert waiting.process.returncode is None
        await nodes.run("n4", "-s", "--durable", "-u", "done")
        ended = await waiting.end()
        assert ended.code == 0
        assert ended.out.count(b",") == 5

        late = await asyncio.gather(
            run(nodes, "boss", "wait", "-u", "done", "--count", "any", "-t", "20s"),
            run(nodes, "boss", "wait", "-u", "done", "--of", "9"),
            run(nodes, "boss", "wait", "-u", "done", "-t", "1s"),
        )
    assert [end.code for end in late] == [0, 2, 1]
    assert late[2].err.endswith("4 of the 8 reports came in time; nothing from: n3, n5, n6, n7")


# --- lock -------------------------------------------------------------------------------------------------------------


async def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """Four commands that want the same lock run one after the other, each with a larger token."""
    log = tmp_path / "log"
    script = f'echo "begin $REMAPHORE_LOCK_TOKEN" >> {log}; sleep 0.1; echo "end $REMAPHORE_LOCK_TOKEN" >> {log}'
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b"])
        holders = [("lock", "name of a lock", "--", "sh", "-c", script)] * 4
        ended = await asyncio.gather(*(run(nodes, "a" if n % 2 else "b", *what) for n, what in enumerate(holders)))
        other = await run(
            nodes, "a", "lock", "other", "--", "sh", "-c", "echo $REMAPHORE_LOCK $REMAPHORE_LOCK_LEASE; exit 9"
        )
    assert [end.code for end in ended] == [0] * 4
    lines = [line.split() for line in log.read_text().splitlines()]
    tokens = [int(token) for _, token in lines[::2]]
    assert [word for word, _ in lines] == ["begin", "end"] * 4
    assert [int(token) for _, token in lines[1::2]] == tokens
    assert tokens == sorted(set(tokens))
    assert (other.code, other.out) == (9, b"other 30s\n")


async def a_holder_that_is_killed(tmp_path: Path) -> None:
    """Its command dies with it, and the next one gets the lock after the lease, with a larger token."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b"])
        show_token = 'echo "$REMAPHORE_LOCK_TOKEN $$"'
        first = await start(nodes, "a", "lock", "L", "--lease", "2s", "--", "sh", "-c", f"{show_token}; exec sleep 60")
        await first.prints(b"\n")
        token, pid = map(int, first.out.split())
        refused = await run(nodes, "b", "lock", "L", "-t", "1s", "--", "true")
        assert refused.code == 1
        assert "is held by a on" in refused.err
        second = await start(nodes, "b", "lock", "L", "--lease", "2s", "-t", "30s", "--", "sh", "-c", show_token)
        await second.says("is held by a on")
        killed = time.monotonic()
        await first.kill(signal.SIGKILL)
        ended = await second.end()
        assert ended.code == 0
        assert int(ended.out.split()[0]) > token
        assert not alive(pid)
        assert time.monotonic() - killed < 10


async def a_lease_that_is_lost_stops_the_command_in_time(tmp_path: Path) -> None:
    """When no renewal is confirmed the command gets SIGTERM, then SIGKILL, all before the key could expire."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a"])
        script = "trap 'echo asked' TERM; echo $$; while :; do sleep 0.05; done"
        holder = await start(nodes, "a", "lock", "L", "--lease", "3s", "--", "sh", "-c", script)
        await holder.prints(b"\n")
        pid = int(holder.out)
        lost = time.monotonic()
        await server.kill()
        while alive(pid):
            await asyncio.sleep(0.02)  # polls a real process
        assert time.monotonic() - lost < 3  # and the last renewal was before the kill
        ended = await holder.end()
    assert ended.code == 3
    assert "lock L is lost: no renewal was confirmed in time; the command was stopped" in ended.err
    assert b"asked" in ended.out


async def a_short_outage_does_not_cost_the_lock(tmp_path: Path) -> None:
    """A server that is killed and comes back within the lease finds the same holder."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b"])
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        holder = await start(nodes, "a", "lock", "L", "--lease", "3s", "--", "sh", "-c", f"echo; read x < {gate}")
        await holder.prints(b"\n")
        started = time.monotonic()
        await server.restart()
        refused = await run(nodes, "b", "lock", "L", "-t", "3500ms", "--", "true")  # longer than the lease
        assert refused.code == 1
        assert time.monotonic() - started > 3
        await open_gate(gate)
        assert (await holder.end()).code == 0
        assert (await run(nodes, "b", "lock", "L", "-t", "10s", "--", "true")).code == 0


async def a_key_that_somebody_takes_away(tmp_path: Path) -> None:
    """When the key is not ours any more the command is killed at the next renewal, and the new owner's key stays."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a"])
        holder = await start(nodes, "a", "lock", "L", "--lease", "2s", "--", "sh", "-c", "echo; exec sleep 60")
        await holder.prints(b"\n")
        client = await nats_library.connect(server.url)
        bucket = await client.jetstream().key_value("remaphore-remaphore-locks")
        await bucket.put("n.L", b"mine")
        ended = await holder.end()
        assert ended.code == 3
        assert "the key was taken or removed" in ended.err
        assert (await bucket.get("n.L")).value == b"mine"
        refused = await run(nodes, "a", "lock", "L", "-t", "1s", "--", "true")
        assert refused.code == 1
        assert "whose entry cannot be read" in refused.err
        await client.close()


async def test_leases_in_trouble(tmp_path: Path) -> None:
    """Each story above, with a server of its own; they mostly wait, so they are told at once."""
    stories = (
        a_holder_that_is_killed,
        a_lease_that_is_lost_stops_the_command_in_time,
        a_short_outage_does_not_cost_the_lock,
        a_key_that_somebody_takes_away,
    )
    async with asyncio.TaskGroup() as told:
        for story in stories:
            told.create_task(story(tmp_path / story.__name__))


async def test_signals_reach_the_command_and_free_the_lock(tmp_path: Path) -> None:
    """The command gets the signal, its end is the exit code, and the lock is free at once."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a"])

        async def one(number: int) -> None:
            name = f"L{number}"
            holder = await start(nodes, "a", "lock", name, "--", "sh", "-c", "echo; exec sleep 60")
            await holder.prints(b"\n")
            await holder.kill(number)
            assert holder.process.returncode == 128 + number
            assert (await run(nodes, "a", "lock", name, "-t", "5s", "--", "true")).code == 0

        await asyncio.gather(one(signal.SIGTERM), one(signal.SIGINT))


async def test_a_lock_without_server_or_command(tmp_path: Path) -> None:
    """An unreachable server is an expired wait, a missing command 127 before anything is locked."""
    nodes = Nodes(tmp_path, "nats://127.0.0.1:1", ["a"])
    ended = await asyncio.gather(
        run(nodes, "a", "lock", "L", "-t", "1s", "--", "true"), run(nodes, "a", "lock", "L", "--", "/nonexistent")
    )
    assert [end.code for end in ended] == [1, 127]


# --- check ------------------------------------------------------------------------------------------------------------


async def test_check_reports_permissions_and_clocks(tmp_path: Path) -> None:
    """All is well, a peer tells its time, and its command does not run."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b"])
        receiver = await (await nodes.start("b", "false")).ready()
        ended = await run(nodes, "a", "check")
        lines = ended.out.decode().splitlines()
        assert ended.code == 0, ended
        assert all(line.startswith("ok   ") for line in lines)
        for text in (
            "connected to nats://",
            "may receive messages",
            "may publish messages",
            "JetStream",
            "clock of b: ",
        ):
            assert any(text in line for line in lines)
        assert "Incoming" not in receiver.err
        await receiver.kill()


async def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    """Missing permissions fail; doubts about the file and silent peers are warnings; keys are never shown."""
    settings = (
        'authorization: { users: [{user: u, password: geheim, permissions: {publish: {deny: ["remaphore.all"]}}}] }'
    )
    async with nats(tmp_path, settings=settings) as server:
        nodes = Nodes(tmp_path, server.url.replace("//", "//u:geheim@"), ["a", "b"])
        private = show(nodes.settings("a")).split("[ Identities ]\n")[1].split()[1]
        text = nodes.path("a").read_text()
        nodes.path("a").write_text(f"colour: red\n{text}")
        nodes.path("a").chmod(0o644)
        ended = await run(nodes, "a", "check")
    out = ended.out.decode()
    assert ended.code == 3
    assert "FAIL may not publish messages: nats: permissions violation" in out
    assert "warn line 1: unknown key 'colour', ignored" in out
    assert "readable by everybody" in out
    assert private not in out + ended.err
    assert "geheim" not in out + ended.err


async def test_check_without_answers(tmp_path: Path) -> None:
    """Nobody answers: a warning, no failure; no server: a failure."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b"])
        alone, nowhere = await asyncio.gather(
            run(nodes, "a", "check"), run(Nodes(tmp_path, "127.0.0.1:1", ["c", "d"]), "c", "check", "-t", "1s")
        )
    assert (alone.code, "no peer answered" in alone.out.decode()) == (0, True)
    assert (nowhere.code, "FAIL no server was reached" in nowhere.out.decode()) == (3, True)
