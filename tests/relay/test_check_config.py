"""`rmb-relay check-config`: what holds, as a file that says the same, without secrets."""

import tomllib
from pathlib import Path

import pytest

from relay.cli import main, parse_arguments
from relay.commands.check_config import masked
from relay.config import RelayConfig
from tests.support.processes import ROOT


def test_it_shows_what_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values with their origins; no password."""
    file = tmp_path / "relay.toml"
    file.write_text('redis = "redis://user:geheim@h:1/0"\nlimit = [5, 100]\ndomain = ["a.test"]\n')
    assert main(["check-config", "--config", str(file), "-w", "3", "--admin-listen", "[::1]:9"]) == 0
    text = capsys.readouterr().out
    assert "geheim" not in text
    lines = text.splitlines()
    assert 'redis = "redis://user:***@h:1/0"  # file' in lines
    assert "limit = [5, 100]  # file" in lines
    assert "workers = 3  # flag" in lines
    assert 'listen = "[::]:8080"  # default' in lines
    assert 'admin-listen = "[::1]:9"  # flag' in lines
    assert "# registry =" in lines


def test_what_it_shows_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read again, it means the same."""
    words = ["-m", "a.test", "b.test", "--limit", "5", "6", "-dd", "--drain-s", "1.5", "-s", "wss://a", "-l", "[::1]:0"]
    assert main(["check-config", *words]) == 0
    text = capsys.readouterr().out
    file = tmp_path / "again.toml"
    file.write_text(text)
    assert "config" not in tomllib.loads(text)
    assert parse_arguments(["--config", str(file)]) == parse_arguments(words)
    assert main(["check-config"]) == 0
    file.write_text(capsys.readouterr().out)
    assert parse_arguments(["--config", str(file)]) == RelayConfig()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen = 1", "unknown setting 'lisen': did you mean 'listen'?"),
        ('substrate = "ws://a"\nregistry = "none"', "give either --substrate or --registry, not both"),
        ('redis = "geheim"', "expected redis://"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line, nothing else."""
    file = tmp_path / "relay.toml"
    file.write_text(text)
    assert main(["check-config", "--config", str(file)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err and shown.err.startswith("rmb-relay check-config: ") and shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://h:1", "redis://h:1"),
        ("redis://:p@h:1/2", "redis://:***@h:1/2"),
        ("rediss://u:p:q@[::1]:1", "rediss://u:***@[::1]:1"),
        ("redis://h:1?password=p&db=2", "redis://h:1?password=***&db=2"),
        ("redis://[:p@h", "***"),
        ("plain", "plain"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    """In the place of a URL where they are, or all of it when that cannot be told."""
    assert masked(text) == shown


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """It names itself and its exit codes."""
    assert main(["check-config", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: rmb-relay check-config ") and "exit codes:" in text


def test_the_example_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """The file that operators start from is one, and holds no setting twice."""
    assert main(["check-config", "--config", str(ROOT / "examples" / "rmb-relay.toml")]) == 0
    assert 'admin-listen = "127.0.0.1:9090"  # file' in capsys.readouterr().out.splitlines()
