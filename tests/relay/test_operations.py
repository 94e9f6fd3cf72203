"""What an operator does to a running relay, with real processes: reload, restart under load, stop at once."""

import os
import signal
from pathlib import Path

from tests.support.programs import Program, RelayProgram, network, running

REQUESTS = 500


async def test_a_restart_under_load_is_noticed_by_nobody(tmp_path: Path) -> None:
    """500 requests while the relay reloads its configuration, stops and starts again: each is answered, once."""
    file = tmp_path / "relay.toml"
    file.write_text("drain-s = 1\n")
    async with network(tmp_path, (), (), relay_flags=("--config", str(file))) as net:
        relay, (a, b) = net.relay, net.sites
        b.serve("test.echo")
        refs = [f"r{number}" for number in range(REQUESTS)]
        for ref in refs[: REQUESTS // 2]:
            await a.push(b.twin, ref=ref, exp=600)
        answers = await a.pop_all(REQUESTS // 5)

        file.write_text("drain-s = \n")
        signal_to(relay, signal.SIGHUP)
        assert str(file) in (await relay.event("configuration not reloaded, the old one stays"))["reason"]
        file.write_text("drain-s = 0.5\nlimit = [100000, 1000000000]\nworkers = 7\n")
        signal_to(relay, signal.SIGHUP)
        assert (await relay.event("settings changed that need a restart"))["settings"] == ["sessions_max"]
        assert (await relay.event("configuration reloaded"))["settings"] == ["rate_limit", "operating.drain_s"]

        signal_to(relay, signal.SIGTERM)
        await relay.event("stopping", signal="SIGTERM")
        for ref in refs[REQUESTS // 2 :]:
            await a.push(b.twin, ref=ref, exp=600)
        assert await relay.ended() == 0
        assert {line.get("level") for line in relay.events} <= {"info", "warning", "error"}
        await relay.start()
        answers += await a.pop_all(REQUESTS - len(answers))
        assert sorted(answer["ref"] for answer in answers) == sorted(refs)
        assert all(answer.get("err") is None for answer in answers), answers
        await a.push(b.twin, ref="last", exp=600)
        assert (await a.pop())["ref"] == "last"
        assert await a.redis.llen("my-ret") == 0


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """The first one gives notice for an hour; the next one ends the process by that signal, and says so."""
    async with running(RelayProgram(tmp_path, "--drain-notice-s", "3600")) as relay:
        signal_to(relay, signal.SIGTERM)
        await relay.event("stopping", signal="SIGTERM")
        signal_to(relay, signal.SIGINT)
        assert await relay.ended() == -signal.SIGINT
        assert relay.events[-1]["event"] == "second signal, stopping at once"


def signal_to(program: Program, number: signal.Signals) -> None:
    """Send it, and do not wait."""
    os.kill(program.pid, number)
