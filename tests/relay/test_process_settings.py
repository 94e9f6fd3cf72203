"""The flags about several processes."""

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
