"""Where a secret is taken from, in which order, and what is said when there is none."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rmb_peer import secret_source
from rmb_peer.protocol.errors import BadSecret
from rmb_peer.secret_source import SECRET_BYTES_MAX, read_secret

WORDS = "garage dad improve reunion girl saddle theory know label reason fantasy deputy"


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RMB_MNEMONIC", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def _file(tmp_path: Path, data: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "mnemonic"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_flag_file_and_environment_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag wins over the environment, a file wins over the environment, the environment is used when alone."""
    monkeypatch.setenv("RMB_MNEMONIC", " from env\n")
    assert read_secret("from flag", None) == "from flag"
    assert read_secret(None, _file(tmp_path, b"from file\n")) == "from file"
    assert read_secret(None, None) == "from env"


def test_two_sources_by_flag_are_refused(tmp_path: Path) -> None:
    """Naming both a mnemonic and a file is a mistake, not a preference."""
    with pytest.raises(BadSecret, match="not both"):
        read_secret("a", tmp_path / "b")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_none_at_all_says_what_to_do(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any source, or with an empty variable, the error lists the ways to give one."""
    if value is not None:
        monkeypatch.setenv("RMB_MNEMONIC", value)
    with pytest.raises(BadSecret, match=r"--mnemonic-file.*RMB_MNEMONIC.*keys new"):
        read_secret(None, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not text"),
        (b"w" * (SECRET_BYTES_MAX + 1), "longer than"),
    ],
)
def test_files_that_hold_no_secret(tmp_path: Path, data: bytes, reason: str) -> None:
    """A wrong file gives a reason, and never its contents."""
    with pytest.raises(BadSecret, match=reason) as caught:
        read_secret(None, _file(tmp_path, data))
    assert "www" not in str(caught.value)


def test_a_file_at_the_limit_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    assert len(read_secret(None, _file(tmp_path, b"w" * SECRET_BYTES_MAX))) == SECRET_BYTES_MAX


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error names the file and the system's reason."""
    with pytest.raises(BadSecret, match=r"nothing-here.*No such file"):
        read_secret(None, tmp_path / "nothing-here")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_can_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    """Group or world readable files are used, with a warning that does not contain the secret."""
    assert read_secret(None, _file(tmp_path, WORDS.encode(), mode)) == WORDS
    assert ("readable by others" in caplog.text) is warned
    assert "garage" not in caplog.text


def test_the_prompt_is_used_on_a_terminal_and_does_not_echo() -> None:
    """On a terminal the secret is asked for, and what is typed is not shown."""
    main_end, terminal = pty.openpty()
    code = "from rmb_peer.secret_source import read_secret; s = read_secret(None, None); print('length', len(s))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={k: v for k, v in os.environ.items() if k != "RMB_MNEMONIC"},
        cwd=Path(secret_source.__file__).parents[1],
    )
    os.close(terminal)
    seen = b""
    while b"not shown" not in seen:
        seen += os.read(main_end, 1000)
    os.write(main_end, WORDS.encode() + b"\n")
    while f"length {len(WORDS)}".encode() not in seen:
        seen += os.read(main_end, 1000)  # fails with EIO when the process ends without saying it
    assert process.wait(10) == 0
    os.close(main_end)
    assert b"garage" not in seen
