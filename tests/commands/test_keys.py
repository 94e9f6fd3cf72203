"""`rmb-peer keys` as a process: vectors of spec rmb A.1, files, and secrets that stay where they belong."""

import json
import stat
from pathlib import Path

import pytest

from rmb_peer.cli import main
from tests.support.processes import exit_code, run_peer

A = "0x340f7341b312bcc61aeea7a76d759d809b8601cbc6d22cb2817278e346137a5d"
B = "tackle blouse grain dawn adult loyal tattoo price access tilt chimney silk"
C = "garage dad improve reunion girl saddle theory know label reason fantasy deputy"
B_SEED = "0xaf092e458b87bdd7d349ac4407dff60a67c7237c63b196d55b7ee845f5a48617"

VECTORS = [
    (A, "sr25519", "6c64c96b606531bb8f225488ec5bf6f53b05b729b9f9859d56501d92be9bf378",
     "5EWpy8kzz8ZjnevdVo1aL6fpm3DBRCBzrunjq97gzuhKW2AX",
     "032965609be627c7656bdce629af8537513238041aafd8a6dac524d6e5206747f0"),
    (B, "sr25519", "a29acf9a22068341a51a1b4e44fc743f3aafbec30bcf9a45264cafe855195764",
     "5FjubvYMj4bDAKSaDk9izWHMJqKABUoySi7j4kKzc6pv4UwF",
     "030ad72f9f05d8a4fe1d462f264f427d1ef9eba6dba234d7a01e1122157264778f"),
    (C, "ed25519", "4f57e74a4eac994d1e7f455ef2c45331fcb56db0995e6e88e8c42342b3c84be4", None,
     "0327e206ea5ca386c560096d2a0491e52957083af3cfd62a754c93eeecc87bb066"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_secret_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RMB_MNEMONIC", raising=False)


@pytest.mark.parametrize(("secret", "key_type", "account_hex", "account", "public_key"), VECTORS)
def test_show_gives_the_public_parts_of_the_vectors(
    secret: str, key_type: str, account_hex: str, account: str | None, public_key: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The keys of spec rmb A.1 come out, and nothing secret does."""
    monkeypatch.setenv("RMB_MNEMONIC", secret)
    assert exit_code(main, ["keys", "show", "-k", key_type, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    shown = json.loads(said.out)
    assert set(shown) == {"key_type", "account", "account_hex", "public_key"}
    assert (shown["key_type"], shown["account_hex"], shown["public_key"]) == (key_type, account_hex, public_key)
    if account:
        assert shown["account"] == account


async def test_show_reveals_secrets_only_by_name(tmp_path: Path) -> None:
    """Plain output has no word of the mnemonic; --secret adds the mnemonic and the seed of spec rmb A.1."""
    path = tmp_path / "m"
    path.write_text(B)
    path.chmod(0o600)
    plain = await run_peer("keys", "show", "--mnemonic-file", str(path))
    assert plain.code == 0
    assert not any(word in plain.out.decode() + plain.err for word in B.split())
    assert B_SEED[2:] not in plain.out.decode()
    revealed = await run_peer("keys", "show", "--mnemonic-file", str(path), "--secret")
    assert B in revealed.out.decode()
    assert B_SEED in revealed.out.decode()


def test_a_key_type_is_read_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    """`-k ED25519` is ed25519 (spec rmb 8.1)."""
    assert exit_code(main, ["keys", "show", "-k", "ED25519", "-m", C, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["account_hex"] == VECTORS[2][2]


@pytest.mark.parametrize("words", ["12", "24"])
def test_new_makes_a_different_identity_each_time(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mnemonic is new, has the number of words asked for, and gives the account that is printed with it."""
    made = []
    for _ in range(2):
        assert exit_code(main, ["keys", "new", "--words", words, "--json"]) == 0
        made.append(json.loads(capsys.readouterr().out))
    assert made[0]["mnemonic"] != made[1]["mnemonic"]
    mnemonic = made[0].pop("mnemonic")
    assert len(mnemonic.split()) == int(words)
    assert exit_code(main, ["keys", "show", "--json", "-m", mnemonic]) == 0
    assert json.loads(capsys.readouterr().out) == made[0]


async def test_new_with_a_file_keeps_the_mnemonic_off_the_screen(tmp_path: Path) -> None:
    """--out writes a file that only we can read, prints no mnemonic, and never overwrites."""
    path = tmp_path / "m"
    ended = await run_peer("keys", "new", "--out", str(path), "--json")
    assert ended.code == 0
    words = path.read_text().split()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(words) == 12
    assert "mnemonic" not in json.loads(ended.out)
    assert not any(f"{word} " in ended.out.decode() for word in words)
    again = await run_peer("keys", "new", "--out", str(path))
    assert (again.code, again.out) == (1, b"")
    assert again.err == f"rmb-peer keys: cannot write {path}: File exists\n"
    assert path.read_text().split() == words


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (B.replace("silk", "silks"), "word 12 of the mnemonic is not in the BIP-39 English list"),
        (B.replace("silk", "blouse"), "checksum"),
        ("0x1234", "64 hex digits"),
        ("//Alice", "derivation paths"),
    ],
)
def test_a_bad_secret_is_explained_on_one_line_without_repeating_it(
    secret: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one line, no part of the secret, no traceback."""
    monkeypatch.setenv("RMB_MNEMONIC", secret)
    assert exit_code(main, ["keys", "show"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert reason in said.err
    assert not any(word in said.err for word in ("tackle", "silks", "0x1234", "Alice"))


def test_no_secret_at_all_and_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a secret: exit code 1 and what to do. Without an action, or with a wrong one: exit code 2."""
    monkeypatch.setattr("sys.stdin", None)
    assert exit_code(main, ["keys", "show"]) == 1
    assert exit_code(main, ["keys"]) == 2
    assert exit_code(main, ["keys", "new", "--words", "13"]) == 2


async def test_output_in_a_pipe_has_no_escape_codes() -> None:
    """Colours and tables are for terminals."""
    ended = await run_peer("keys", "show", "-m", C, env={"FORCE_COLOR": "1"})
    assert b"\x1b" not in ended.out
    assert ended.out.startswith(b"key type:             sr25519\naccount (SS58):       5CtwsdH1gg")
