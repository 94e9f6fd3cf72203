"""Flags of `rmb-relay` (spec rmb 8.2): names, defaults, and mistakes that end with one clear line."""

import shlex
import socket
from pathlib import Path

import pytest

from relay.cli import main, parse_arguments
from relay.config import RateLimit, RelayConfig
from rmb_peer import __version__


def test_defaults() -> None:
    """Those of the specification where it has them; store and registry of its own."""
    config = parse_arguments([])
    assert config == RelayConfig()
    assert (config.listen_host, config.listen_port) == ("::", 8080)
    assert config.sessions_max == 500 * 1000
    assert (config.redis_url, config.rate_limit, config.domains, config.registry) == (None, None, (), "hosted")
    assert config.message_bytes_max == 16 * 1024 * 1024
    assert config.data_folder == Path("rmb-relay-data")


def test_short_flags() -> None:
    """All of them, as the existing relay spells them."""
    arguments = "-m A.test b.test:80 -m c.test -r redis://h:1 -w 2 -u 3 -l 0.0.0.0:80 -dd --limit 5 1000"
    config = parse_arguments(shlex.split(arguments))
    assert config.domains == ("a.test", "b.test:80", "c.test")
    assert config.redis_url == "redis://h:1"
    assert config.sessions_max == 6
    assert (config.listen_host, config.listen_port) == ("0.0.0.0", 80)
    assert config.debug == 2
    assert config.rate_limit == RateLimit(5, 1000)


def test_long_flags() -> None:
    """The same by their long names, and ours."""
    arguments = (
        "--domain a.test --redis unix:///x --workers 2 --user-per-worker 3 --listen [::1]:0 --debug --registry none "
        "--message-bytes-max 1000 --data /tmp/d --log-format json"
    )
    config = parse_arguments(shlex.split(arguments))
    assert config == RelayConfig(
        domains=("a.test",),
        redis_url="unix:///x",
        data_folder=Path("/tmp/d"),
        sessions_max=6,
        listen_host="::1",
        listen_port=0,
        registry="none",
        message_bytes_max=1000,
        log_format="json",
        debug=1,
    )


def test_the_flags_of_the_chain() -> None:
    """Nodes in order, once each, from one flag or several; the threshold of other relays by default."""
    nodes = ["-s", "ws://a", "wss://b", "--substrate", "ws://a", "ws://c:1"]
    assert parse_arguments(nodes).substrate == ("ws://a", "wss://b", "ws://c:1")
    assert parse_arguments(nodes).catchup_blocks_max == 600
    assert parse_arguments([]).substrate == ()
    for number in (0, 100_000):
        assert parse_arguments([*nodes, "--catchup-threshold", str(number)]).catchup_blocks_max == number


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--substrate", "a", "b"], "'a' is no URL of a node: expected ws://host[:port] or wss://host[:port]"),
        (["-s", "wss://tfchain.grid.tf:443", "--registry", "none"], "give either --substrate or --registry, not both"),
        (["-s", "ws://a", "--registry", "hosted"], "give either --substrate or --registry, not both"),
        (["--catchup-threshold", "100001"], "'100001' is no whole number up to 100000"),
        (["--catchup-threshold", "-1"], "--catchup-threshold"),
        (["--listen", "8080"], "expected host:port"),
        (["--workers", "0"], "'0' is no whole number above 0"),
        (["-u", "1.5"], "no whole number"),
        (["--limit", "5"], "expected 2 arguments"),
        (["--limit", "5", "-1"], "--limit"),
        (["--message-bytes-max", "x"], "no whole number"),
        (["--redis", "localhost:6379"], "expected redis://"),
        (["--domain", "not a relay!"], "expected host or host:port"),
        (["--registry", "somewhere"], "is neither 'hosted', 'none' nor a URL"),
        (["--log-format", "xml"], "invalid choice"),
        (["--uploads", "5"], "unrecognized arguments"),
        (["surplus"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2; the last line says what is wrong."""
    assert main(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("rmb-relay: error: ")
    assert text in last


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Both succeed; help has examples and explains what the product of workers and users is."""
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == f"rmb-relay {__version__}\n"
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "rmb-relay --domain relay.example.org --listen 127.0.0.1:8080" in text
    assert "workers * users per worker is how many sessions may be connected at once" in text


def start(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a start that must fail; its only line on stderr."""
    assert main(["--listen", "127.0.0.1:0", *arguments]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if '"level":"warning"' not in line]
    assert len(lines) == 1 and lines[0].startswith("rmb-relay: "), lines
    return lines[0]


def test_a_port_in_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit code 1, one line, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = start(capsys, "--data", str(tmp_path), "--listen", f"127.0.0.1:{port}")
        assert text == f"rmb-relay: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_host_that_is_not_ours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An address of another machine, and a name that means nothing."""
    assert "cannot listen on 192.0.2.1:80: " in start(capsys, "--data", str(tmp_path), "--listen", "192.0.2.1:80")
    assert "cannot listen on " in start(capsys, "--data", str(tmp_path), "--listen", "nowhere.invalid:80")


def test_an_unreachable_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The operator is told which flag, and never sees the password again."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    text = start(capsys, "--redis", f"redis://user:geheim@127.0.0.1:{port}")
    assert "cannot use the store given by --redis: " in text
    assert "geheim" not in text
    assert "cannot use the store given by --redis: " in start(capsys, "--redis", f"unix://{tmp_path}/none.sock")
    text = start(capsys, "--redis-cluster", f"redis://user:geheim@127.0.0.1:{port}")
    assert "cannot use the store given by --redis-cluster: " in text
    assert "geheim" not in text


def test_a_data_folder_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file in its place."""
    (tmp_path / "file").write_text("x")
    assert "cannot start the embedded store: " in start(capsys, "--data", str(tmp_path / "file"))


def test_a_registry_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The registry's own text says what can be opened."""
    assert "is not a registry" in start(capsys, "--data", str(tmp_path), "--registry", "gopher://x")
