"""`rmb-peer twin` with `--substrate` against the stand-in node: as processes where a twin is made and where no node is,
else in this process, which decodes the metadata once for all of them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rmb_peer.cli import main
from tests.support.chain import StandIn, needs_chain_data, stand_in_node
from tests.support.chain_client import have_twin, new_identity, vectors
from tests.support.processes import Ended, run_here, run_peer

pytestmark = [needs_chain_data, pytest.mark.timeout(300)]  # processes that load the library, on a busy machine

ED25519 = vectors()["identity"]["ed25519"]
TIMEOUT_S = 120


@pytest.fixture
async def node() -> AsyncIterator[StandIn]:
    """A stand-in node."""
    async with stand_in_node() as node:
        yield node


async def twin(*arguments: str, secret: Path | None = None, process: bool = False) -> Ended:
    flags = () if secret is None else ("--mnemonic-file", str(secret), "-k", "ed25519")
    if process:
        return await run_peer("twin", *arguments, *flags, timeout_s=TIMEOUT_S)
    return await run_here(main, "twin", *arguments, *flags)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with the well-known phrase."""
    path = tmp_path / "me"
    path.write_text(vectors()["identity"]["mnemonic"])
    path.chmod(0o600)
    return path


CREATE = ("--relay", "wss://relay.test:4430", "--json")


async def test_what_is_missing_is_said(node: StandIn, secret: Path) -> None:
    """No account, then no terms: exit code 1 and one line that says what to do."""
    for says in ("send it some TFT first", "--accept-terms LINK HASH"):
        ended = await twin("create", "--substrate", node.url, *CREATE, secret=secret)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, b"", 1)
        assert says in ended.err
        node.fund(bytes.fromhex(ED25519[0]))


async def test_create(node: StandIn, secret: Path) -> None:
    """Terms and twin at once, over the second node of the list; the port is left out. A second twin is refused."""
    node.fund(bytes.fromhex(ED25519[0]))
    chain = ("--substrate", "ws://127.0.0.1:1", "--substrate", node.url)
    terms = ("--accept-terms", "https://example.org/t", "ab12")
    ended = await twin("create", *chain, *CREATE, *terms, secret=secret, process=True)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == {
        "id": 1, "account": ED25519[1], "account_hex": ED25519[0], "relays": ["relay.test"],
        "public_key": vectors()["identity"]["pk"], "version": 0,
    }  # fmt: skip
    ended = await twin("create", *chain, *CREATE, secret=secret)
    assert (ended.code, "has twin 1 already" in ended.err) == (1, True)


async def test_update(node: StandIn, secret: Path) -> None:
    """Relays are replaced when given and kept otherwise; --plain takes the key away."""
    node.fund(bytes.fromhex(ED25519[0]))
    node.put_twin(bytes.fromhex(ED25519[0]), relay="old.test")
    relays = ("--relay", "ws://localhost:8080", "--relay", "wss://b.test")
    ended = await twin("update", "--substrate", node.url, *relays, secret=secret)
    assert ended.code == 0
    assert node.twins[1].relay == b"localhost_b.test"  # sorted, but for the dot that may not come second
    assert node.twins[1].pk == bytes.fromhex(vectors()["identity"]["pk"])
    ended = await twin("update", "--substrate", node.url, "--plain", secret=secret)
    assert ended.code == 0
    plain = node.twins[1]
    assert (plain.relay, plain.pk) == (b"localhost_b.test", None)


async def test_show(node: StandIn) -> None:
    """By id and by account."""
    me = new_identity("ed25519")
    have_twin(node, me, "bb.test_aa.test")
    for who in (["1"], ["--account", me.account.hex()]):
        ended = await twin("show", *who, "--substrate", node.url)
        assert (ended.code, b"aa.test bb.test" in ended.out) == (0, True)


async def test_list(node: StandIn) -> None:
    """Only twins of the relay that was asked for: columns, or one object per line; no bar in a pipe."""
    for relays in ("aa.test", "bb.test_aa.test", None):
        have_twin(node, new_identity("ed25519"), relays)
    ended = await twin("list", "--substrate", node.url, "--relay", "AA.test")
    lines = ended.out.decode().splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert lines[0].split() == ["twin", "account", "key", "relays"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert lines[2].endswith("sealed  aa.test bb.test")
    ended = await twin("list", "--substrate", node.url, "--json")
    assert [json.loads(line)["relays"] for line in ended.out.splitlines()] == [["aa.test"], ["aa.test", "bb.test"], []]


async def test_no_node() -> None:
    """Exit code 3, one line with the reason and the flags, no traceback."""
    for action in (["show", "7"], ["list"]):
        ended = await twin(*action, "--substrate", "ws://127.0.0.1:1", process=True)
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, b"", 1)
        assert "ws://127.0.0.1:1" in ended.err
        assert "--substrate" in ended.err
