"""Settings: flag over environment over file over default, and clear words for what cannot be."""

from pathlib import Path
from typing import Any

import pytest

from rmb_peer.config import GatewayConfig, merge, read_config_file
from rmb_peer.protocol.errors import BadRequest


def test_a_later_source_wins_and_none_changes_nothing() -> None:
    """`None` means "not given"; names may be written as flags or as fields."""
    config = merge(GatewayConfig(), {"key-type": "ED25519", "redis": "redis://a", "data": "x"}, "file")
    config = merge(config, {"redis": "redis://b", "key_type": None, "relay": ["ws://r:1"]}, "arguments")
    assert (config.key_type, config.redis, config.data, config.relay) == (
        "ed25519",
        "redis://b",
        Path("x"),
        ("ws://r:1",),
    )
    assert config.check() is config


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"relays": []}, "unknown setting 'relays'; known are data, debug, http, journal-age, journal-bytes, key-type"),
        ({"relay": 5}, "relay must be a URL or a list of URLs"),
        ({"relay": []}, "the number of relays should not exceed 4"),
        ({"relay": [f"ws://r{n}" for n in range(5)]}, "the number of relays should not exceed 4"),
        ({"relay": "http://x"}, "'http://x' is not a relay URL"),
        ({"relay": ["ws://r", "ws://r"]}, "a relay is listed twice"),
        ({"key-type": "rsa"}, "key-type must be one of sr25519, ed25519, not 'rsa'"),
        ({"redis": "localhost"}, "redis must be redis://"),
        ({"redis": 5}, "redis must be a text"),
        ({"debug": "x"}, "debug must be a number"),
        ({"debug": True}, "debug must be a number"),
        ({"workers": -1}, "workers must be a number, 0 or more"),
        ({"workers": 65}, "workers must be at most 64, not 65"),
        ({"no-update": 1}, "no-update must be true or false"),
        ({"data": 1}, "data must be a path"),
    ],
)
def test_what_cannot_be_is_named(settings: dict[str, Any], text: str) -> None:
    """The error names the setting and what it should be."""
    with pytest.raises(BadRequest) as caught:
        merge(GatewayConfig(), settings, "file").check()
    assert text in str(caught.value)


def test_config_file(tmp_path: Path) -> None:
    """TOML with the names of the flags."""
    path = tmp_path / "gateway.toml"
    path.write_text('key-type = "ed25519"\nrelay = ["wss://a.example.org", "wss://b.example.org"]\nno-update = true\n')
    config = merge(GatewayConfig(), read_config_file(path), str(path)).check()
    assert config.relay_names == {"a.example.org", "b.example.org"}
    assert config.no_update


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"key-type = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b'mnemonic = "x"', "put the mnemonic into a file of its own"),
        (b"#" * (1024 * 1024 + 1), "is larger than"),
        (None, "cannot read the configuration"),
    ],
)
def test_broken_config_files(tmp_path: Path, content: bytes | None, text: str) -> None:
    """Whatever is wrong with the file is said in one line."""
    path = tmp_path / "gateway.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadRequest, match=text):
        read_config_file(path)


def test_relay_names_are_a_set_in_lower_case() -> None:
    """What goes into our record: host and port unless it is the scheme's own (C 20)."""
    config = GatewayConfig(relay=("wss://Relay.Example.org:443", "ws://localhost:4001", "wss://a.example.org:8443"))
    assert config.relay_names == {"relay.example.org", "localhost:4001", "a.example.org:8443"}
