"""`rmb-peer twin` against registry files, and against a relay that is not there."""

import json
from pathlib import Path

import pytest

from rmb_peer.cli import main
from tests.support.processes import exit_code, run_peer

ACCOUNT = "5EWpy8kzz8ZjnevdVo1aL6fpm3DBRCBzrunjq97gzuhKW2AX"
ACCOUNT_HEX = "6c64c96b606531bb8f225488ec5bf6f53b05b729b9f9859d56501d92be9bf378"
PUBLIC_KEY = "032965609be627c7656bdce629af8537513238041aafd8a6dac524d6e5206747f0"
OTHER_HEX = "a29acf9a22068341a51a1b4e44fc743f3aafbec30bcf9a45264cafe855195764"


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry of two twins, named by the environment."""
    path = tmp_path / "twins.toml"
    path.write_text(
        f'[[twins]]\nid = 7\naccount = "{ACCOUNT}"\nrelays = ["b.example", "a.example:81"]\npk = "{PUBLIC_KEY}"\n'
        f'[[twins]]\nid = 8\naccount = "{OTHER_HEX}"\nrelays = []\n'
    )
    monkeypatch.setenv("RMB_REGISTRY", f"file:{path}")
    return f"file:{path}"


@pytest.mark.parametrize(
    "who", [["7"], ["--account", ACCOUNT], ["--account", ACCOUNT_HEX], ["--account", "0x" + ACCOUNT_HEX]]
)
def test_a_twin_is_found_by_id_and_by_account(who: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the documented fields, whichever way the twin was named."""
    assert exit_code(main, ["twin", "show", *who, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "id": 7, "account": ACCOUNT, "account_hex": ACCOUNT_HEX, "relays": ["a.example:81", "b.example"],
        "public_key": PUBLIC_KEY, "version": 0,
    }  # fmt: skip


def test_a_twin_without_key_and_relays_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """What a record lacks is said in words, and is null or empty in JSON."""
    assert exit_code(main, ["twin", "show", "8"]) == 0
    out = capsys.readouterr().out
    assert "relays:               none\n" in out
    assert "none: it receives plain payloads" in out
    assert exit_code(main, ["twin", "show", "8", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["relays"], shown["public_key"]) == ([], None)


def test_no_such_twin(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and a sentence, or null for scripts."""
    assert exit_code(main, ["twin", "show", "9"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "rmb-peer twin: there is no twin with id 9\n")
    assert exit_code(main, ["twin", "show", "9", "--json"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("null\n", "")


async def test_a_silent_registry_is_exit_code_3_as_a_process() -> None:
    """Neither a relay nor a registry answers: one line that names it and the flags, and no traceback."""
    for flags in (["--relay", "ws://127.0.0.1:1"], ["--registry", "http://127.0.0.1:1"]):
        ended = await run_peer("twin", "show", "7", *flags)
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, b"", 1)
        assert "http://127.0.0.1:1" in ended.err
        assert "--registry, --substrate or --relay" in ended.err


def test_a_missing_file_is_a_silent_registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry file that is not there is named."""
    assert exit_code(main, ["twin", "show", "7", "--registry", f"file:{tmp_path}/none.toml"]) == 3
    assert "none.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "show"),
        (["show"], "one of the arguments"),
        (["show", "0"], "is no twin id"),
        (["show", "x"], "is no twin id"),
        (["show", "7", "--account", ACCOUNT], "not allowed with"),
        (["show", "--account", ACCOUNT[:-1] + "Y"], "checksum"),
        (["show", "7", "--registry", "ftp://x"], "is not a registry"),
        (["show", "7", "--substrate", "http://x"], "is no URL of a node"),
        (["show", "7", "--substrate", "ws://x", "--registry", "memory:"], "not allowed with"),
        (["list"], "only tfchain can list"),
        (["create", "--accept-terms", "link"], "expected 2 arguments"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes on the command line are explained."""
    assert exit_code(main, ["twin", *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, reason in said.err) == ("", True)
