"""Flags over a file over defaults; mistakes in the file are named."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.cli import main, parse_arguments
from relay.config import RateLimit, RelayConfig
from relay.settings import CONFIG_BYTES_MAX, SettingsParser, WrongSetting, add_config_flag, read_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def parse(file: Path, text: str, *flags: str) -> RelayConfig:
    file.write_text(text)
    return parse_arguments(["--config", str(file), *flags], raises=True)


EVERYTHING = """
domain = ["a.test", "b.test:80"]
listen = "127.0.0.1:0"
redis = "redis://u:p@h:1/0"
data = "/tmp/d"
limit = [5, 1000]
message_bytes_max = 2000     # underscores are hyphens
workers = 2
user-per-worker = 3
substrate = "wss://a"
debug = 1
log-format = "json"
drain-s = 0.5
drain-notice-s = 2
admin-listen = "[::1]:9090"
"""


def test_a_file_says_what_flags_say(file: Path) -> None:
    """Every kind of value: text, number, list, two numbers, how often."""
    words = (
        "-m a.test b.test:80 -l 127.0.0.1:0 -r redis://u:p@h:1/0 --data /tmp/d --limit 5 1000 --message-bytes-max 2000 "
        "-w 2 -u 3 -s wss://a -d --log-format json --drain-s 0.5 --drain-notice-s 2 --admin-listen [::1]:9090"
    )
    assert parse(file, EVERYTHING) == parse_arguments(words.split())
    assert parse(file, "") == RelayConfig()


def test_a_flag_wins(file: Path) -> None:
    """Lists are replaced, not joined; and of two that exclude each other the flag holds."""
    config = parse(file, EVERYTHING, "-m", "c.test", "-w", "7", "--limit", "6", "7", "--registry", "none")
    assert config.domains == ("c.test",)
    assert config.sessions_max == 7 * 3
    assert config.rate_limit == RateLimit(6, 7)
    assert (config.registry, config.substrate) == ("none", ())
    assert parse(file, 'registry = "none"', "-s", "wss://a").substrate == ("wss://a",)


def test_what_is_turned_off_was_said(file: Path) -> None:
    """A flag whose value is `None` wins over a file that has one, and so does a file over a default."""
    parser = SettingsParser()
    add_config_flag(parser)
    parser.add_argument("--most", type=lambda text: None if text == "none" else int(text), default=7)
    file.write_text('most = "none"')
    words = ["--config", str(file)]
    assert (read_settings(parser, words).values.most, read_settings(parser, words).origins["most"]) == (None, "file")
    file.write_text("most = 5")
    assert read_settings(parser, words).values.most == 5
    settings = read_settings(parser, [*words, "--most", "none"])
    assert (settings.values.most, settings.origins["most"]) == (None, "flag")
    assert read_settings(parser, []).values.most == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen = 1", "unknown setting 'lisen': did you mean 'listen'?"),
        ("zzz = 1", "unknown setting 'zzz': the settings are the flags of rmb-relay --help"),
        ("help = true", "unknown setting 'help'"),
        ('config = "x"', "unknown setting 'config'"),
        ("limit = 5", "--limit: expected 2 arguments"),
        ("workers = 0", "'0' is no whole number above 0"),
        ("workers = [1, 2]", "workers takes one value, not a list"),
        ("workers = true", "workers must be a text or a number"),
        ("[workers]\nn = 1", "workers must be a text or a number"),
        ("debug = true", ""),
        ("debug = 77", "debug must be a small number"),
        ('debug = "x"', "debug must be a small number"),
        ("drain-s = -1", "'-1' is no number of seconds"),
        ('registry = "none"\nsubstrate = "ws://a"', "give either --substrate or --registry"),
        ("a = ", "is not TOML: "),
        ("# " + "x" * CONFIG_BYTES_MAX, "is larger than"),
    ],
)
def test_mistakes_in_a_file(file: Path, text: str, said: str) -> None:
    """Whatever is wrong is said with the name of the file, as far as it is the file's fault."""
    if not said:
        parse(file, text)
        return
    with pytest.raises(WrongSetting) as wrong:
        parse(file, text)
    assert said in str(wrong.value)
    assert str(file) in str(wrong.value) or "either" in said


def test_a_file_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and one line that says so."""
    assert main(["--config", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"rmb-relay: error: {file}: cannot be read: No such file or directory"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.sampled_from([b'limit = ["-1", 2]', b"m=1"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_noise_is_a_mistake_or_nothing(file: Path, noise: bytes) -> None:
    """No file raises anything but the one exception."""
    file.write_bytes(noise)
    with suppress(WrongSetting):
        parse_arguments(["--config", str(file)], raises=True)
