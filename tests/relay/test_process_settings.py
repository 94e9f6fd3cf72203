"""The flags about several processes."""

from pathlib import Path

import pytest

from relay.cli import parse_arguments
from relay.process_settings import PROCESSES_MAX


def test_defaults() -> None:
    """One process, no cluster."""
    config = parse_arguments([])
    assert (config.processes, config.redis_cluster) == (1, ())


def test_given() -> None:
    """A number, and URLs separated by commas."""
    config = parse_arguments(
        ["--processes", str(PROCESSES_MAX), "--redis-cluster", "redis://a:1,rediss://user:pass@b:2"]
    )
    assert config.processes == PROCESSES_MAX
    assert config.redis_cluster == ("redis://a:1", "rediss://user:pass@b:2")
    assert "pass" not in repr(config)


def test_in_a_file(tmp_path: Path) -> None:
    """One text or a list of them; a flag that names another kind of store wins."""
    file = tmp_path / "relay.toml"
    file.write_text('processes = 3\nredis-cluster = ["redis://a:1", "redis://b:2"]\n')
    config = parse_arguments(["--config", str(file)])
    assert (config.processes, config.redis_cluster) == (3, ("redis://a:1", "redis://b:2"))
    config = parse_arguments(["--config", str(file), "--redis", "redis://c:3"])
    assert (config.redis_url, config.redis_cluster) == ("redis://c:3", ())


def test_two_stores(capsys: pytest.CaptureFixture[str]) -> None:
    """A server and a cluster are one too many."""
    with pytest.raises(SystemExit):
        parse_arguments(["--redis", "redis://a:1", "--redis-cluster", "redis://b:2"])
    assert "not both" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--processes", "0"],
        ["--processes", str(PROCESSES_MAX + 1)],
        ["--processes", "9" * 5000],
        ["--processes", "two"],
        ["--redis-cluster", "unix:///tmp/x"],
        ["--redis-cluster", "redis://a:1,"],
        ["--redis-cluster", "redis://"],
    ],
)
def test_wrong(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A clear error, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        parse_arguments(words)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err
