"""`rmb-peer bao` as a process: round trips, formats, damage told exactly, repair of only what is damaged."""

import json
import os
import pty
import stat
from asyncio import get_running_loop
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import blake3
import pytest

from rmb_peer.cli import main
from rmb_peer.commands.bao import build_parser
from rmb_peer.protocol.bao import encode_outboard
from tests.support.bao import EXTRA, flipped, pattern
from tests.support.processes import Ended, background, exit_code, run_peer, start_peer

SIZE = 3_000_001
GROUP = 16_384


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(pattern(SIZE))
    return path


@pytest.fixture
def root(content: Path) -> str:
    """The root hash; the outboard is beside the content."""
    root, outboard = encode_outboard(content.read_bytes(), 4)
    Path(f"{content}.bao4").write_bytes(outboard)
    return root.hex()


def bao(*arguments: object) -> int:
    """Run in this process: a new one takes ten times as long."""
    return exit_code(main, ["bao", *map(str, arguments)])


async def bao_process(*arguments: object, stdin: bytes | None = None) -> Ended:
    return await run_peer("bao", *map(str, arguments), stdin=stdin)


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """The object on standard output."""
    return json.loads(capsys.readouterr().out)


async def test_encode_writes_the_outboard_beside_the_file(tmp_path: Path) -> None:
    """The root on standard output, the outboard of the vectors in FILE.bao4, with ordinary permissions."""
    blob = EXTRA["blobs"][-1]
    path = tmp_path / "x"
    path.write_bytes(pattern(blob["size"]))
    ended = await bao_process("encode", path)
    assert (ended.code, ended.out.decode(), ended.err) == (0, blob["blake3"] + "\n", "")
    _, outboard = encode_outboard(path.read_bytes(), 4)
    written = Path(f"{path}.bao4")
    assert written.read_bytes() == outboard
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(path.stat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x", "x.bao4"]


@pytest.mark.parametrize("engine", ["llvmlite", "wasmtime"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [0, 1, 16_384, 2**20, 2**20 + 1, SIZE])
def test_every_engine_and_any_threads_give_the_same(
    size: int, threads: int, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of any size, in both orders, with and without the size."""
    path, out = tmp_path / "x", tmp_path / "out"
    path.write_bytes(pattern(size))
    for order in ("pre", "post"):
        for with_size in (False, True):
            flags = ["--order", order, *(["--with-size"] if with_size else [])]
            assert bao("encode", path, "-o", out, "--json", "--engine", engine, "--threads", threads, *flags) == 0
            shown = told(capsys)
            expected, outboard = encode_outboard(pattern(size), 4, order, with_size=with_size)
            assert out.read_bytes() == outboard
            assert (shown["root"], shown["bytes"], shown["engine"]) == (expected.hex(), size, engine)
            assert (shown["written_bytes"], shown["chunk_log"], shown["action"]) == (len(outboard), 4, "encode")
            assert bao("verify", path, out, "--root", expected.hex(), *flags, "--threads", threads, "--json") == 0
            checked = told(capsys)
            assert (checked["good"], checked["size"], checked["damage"]) == (True, size, [])


async def test_streams(content: Path, root: str, tmp_path: Path) -> None:
    """Standard input and output everywhere: encode -, hash -, a combined encoding through a pipe, a slice."""
    data = content.read_bytes()
    ended = await bao_process("encode", "-", "-o", "-", "--json", stdin=data)
    assert ended.code == 0
    assert ended.out == Path(f"{content}.bao4").read_bytes()
    assert json.loads(ended.err)["root"] == root
    ended = await bao_process("hash", "-", content, stdin=b"abc")
    assert ended.out.decode() == f"{blake3.blake3(b'abc').hexdigest()}  -\n{root}  {content}\n"
    combined = await bao_process("encode", content, "--combined", "-o", "-", "--chunk-log", 0)
    ended = await bao_process("decode", "--root", root, "--chunk-log", 0, stdin=combined.out)
    assert (ended.code, ended.out) == (0, data)
    cut = await bao_process("slice", content, f"{content}.bao4", "--root", root, "--start", 70_000, "--len", 5000)
    ended = await bao_process("decode", "--root", root, "--start", 70_000, "--len", 5000, stdin=cut.out + b"surplus")
    assert (ended.code, ended.out) == (0, data[70_000:75_000])
    ended = await bao_process(
        "decode", "--root", root, "--start", 70_000, "--len", 5000, stdin=flipped(cut.out, len(cut.out) - 9)
    )
    assert ended.code == 1
    assert data[70_000:75_000].startswith(ended.out)
    assert "rmb-peer bao: standard input: hash mismatch at leaf (chunk " in ended.err


def test_slices_of_every_kind(content: Path, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From an outboard and from a combined encoding, by bytes and by chunks, in any group size: the same content."""
    data, combined, part, out = content.read_bytes(), tmp_path / "c", tmp_path / "part", tmp_path / "out"
    assert bao("encode", content, "--combined", "-o", combined) == 0
    sources = ([content, f"{content}.bao4"], [combined])
    for flags, expected in (
        (["--start", 100], data[100:]),
        (["--len", 0], b""),
        (["--start", SIZE + 5, "--len", 3], b""),
        (["--start", 5000, "--len", 70_000], data[5000:75_000]),
        (["--chunks", "3-4,900,2900-"], data[3072:5120] + data[921_600:922_624] + data[2_969_600:]),
        ([], data),
    ):
        encodings = set()
        for source in sources:
            for log in (0, 4):
                assert bao("slice", *source, "--root", root, *flags, "--slice-log", log, "-o", part) == 0
                encodings.add((log, part.read_bytes()))
                assert bao("decode", part, "--root", root, *flags, "--chunk-log", log, "-o", out) == 0
                assert out.read_bytes() == expected
        assert len(encodings) == 2
    capsys.readouterr()


def test_damage_is_told_exactly(content: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the range, the kind and the item for people and as JSON; good ranges on request."""
    content.write_bytes(flipped(content.read_bytes(), 10 * GROUP + 77))
    outboard = Path(f"{content}.bao4")
    begin, end = 10 * GROUP, 11 * GROUP
    assert bao("verify", content, outboard, "--root", root) == 1
    said = capsys.readouterr()
    assert said.out == ""
    report = f"hash mismatch at leaf (chunk 160), which covers bytes {begin} to {end}"
    assert said.err == f"rmb-peer bao: {content}: bytes {begin} to {end} are not proven: {report}\n"
    assert bao("verify", content, outboard, "--root", root, "--ranges") == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"0-{begin} good", f"{begin}-{end} bad   {report}", f"{end}-{SIZE} good"]
    assert bao("verify", content, outboard, "--root", root, "--json") == 1
    shown = told(capsys)
    assert not shown["good"]
    assert shown["size"] is None
    assert shown["good_ranges"] == [[0, begin], [end, SIZE]]
    assert shown["damage"] == [
        {"range": [begin, end], "kind": "hash mismatch", "item": "leaf", "start": begin, "length": GROUP, "number": 160,
         "text": report}
    ]  # fmt: skip
    assert bao("slice", content, outboard, "--root", root, "-o", content.parent / "part") == 1
    assert report in capsys.readouterr().err
    assert not (content.parent / "part").exists()


def test_wrong_sizes(content: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was cut or has grown: told with --size, which also says where; and never good without."""
    data, outboard = content.read_bytes(), Path(f"{content}.bao4")
    content.write_bytes(data[:-20_000])
    assert bao("verify", content, outboard, "--root", root) == 1
    assert bao("verify", content, outboard, "--root", root, "--size", SIZE) == 1
    assert "truncated at leaf (chunk 2896), which covers bytes 2965504 to 2981888" in capsys.readouterr().err
    content.write_bytes(data + b"more")
    assert bao("verify", content, outboard, "--root", root) == 1
    assert bao("verify", content, outboard, "--root", root, "--size", SIZE) == 1
    assert "4 bytes more than the 3000001 that are proven" in capsys.readouterr().err
    assert bao("repair", content, outboard, "--root", root, "--size", SIZE) == 0
    assert content.read_bytes() == data


async def test_a_damaged_file_is_repaired_by_fetching_only_what_is_damaged(
    content: Path, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a slice, as over a network; only damaged groups and their path travel."""
    outboard, whole, part = Path(f"{content}.bao4"), tmp_path / "whole", tmp_path / "part"
    data, pairs = content.read_bytes(), outboard.read_bytes()
    whole.write_bytes(data)
    (tmp_path / "whole.bao4").write_bytes(pairs)
    content.write_bytes(flipped(flipped(data, 5), SIZE - 1))
    outboard.write_bytes(flipped(pairs, 0))
    planned = await bao_process("repair", content, outboard, "--root", root, "--plan")
    assert (planned.code, planned.out) == (1, b"0-15,2928-2929\n")
    assert outboard.read_bytes() != pairs
    chunks = planned.out.decode().strip()
    assert bao("slice", whole, f"{whole}.bao4", "--root", root, "--chunks", chunks, "-o", part) == 0
    capsys.readouterr()
    assert bao("repair", content, outboard, "--root", root, "--from-slice", part, "--json") == 0
    shown = told(capsys)
    assert content.read_bytes() == data
    assert outboard.read_bytes() == pairs
    assert (shown["chunks"], shown["fetch_bytes"]) == ("0-15,2928-2929", GROUP + SIZE % GROUP)
    assert (shown["pairs"], shown["content_bytes"]) == (1, GROUP + SIZE % GROUP)
    assert shown["fetched_bytes"] == part.stat().st_size < 2 * GROUP + 64 * 20
    assert bao("repair", content, outboard, "--root", root) == 0
    assert capsys.readouterr().out == "nothing to repair\n"


def test_repair_from_a_copy(content: Path, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy that is damaged elsewhere helps all the same; what is damaged in both is told, and stays as it is."""
    outboard, copy = Path(f"{content}.bao4"), tmp_path / "copy"
    data, pairs = content.read_bytes(), outboard.read_bytes()
    copy.write_bytes(flipped(flipped(data, 2 * GROUP), 9 * GROUP))
    content.write_bytes(flipped(flipped(data, 5 * GROUP), 9 * GROUP + 1))
    assert bao("repair", content, outboard, "--root", root, "--from", copy) == 1
    assert "still damaged: chunks 144-159" in capsys.readouterr().err
    assert content.read_bytes() == flipped(data, 9 * GROUP + 1)
    copy.write_bytes(data)
    outboard.write_bytes(bytes(len(pairs)))  # every pair is lost, too: everything has to come from the copy
    assert bao("repair", content, outboard, "--root", root, "--from", copy, "--json") == 0
    assert told(capsys)["content_bytes"] == SIZE
    assert (content.read_bytes(), outboard.read_bytes()) == (data, pairs)
    outboard.write_bytes(b"")  # content is whole: the outboard is computed again
    assert bao("repair", content, outboard, "--root", root) == 0
    assert outboard.read_bytes() == pairs


def test_a_bad_slice_changes_nothing_wrongly(content: Path, root: str, tmp_path: Path) -> None:
    """A slice that is damaged, cut, or of other content: what it proves is written, nothing else, exit code 1."""
    outboard, whole, part = Path(f"{content}.bao4"), tmp_path / "whole", tmp_path / "part"
    data, pairs = content.read_bytes(), outboard.read_bytes()
    whole.write_bytes(data)
    damaged = flipped(flipped(data, 5), 50 * GROUP)
    assert bao("slice", whole, outboard, "--root", root, "--chunks", "0-15,800-815", "-o", part) == 0
    good = part.read_bytes()
    half = flipped(damaged, 5)
    for bad, left in (
        (flipped(good, len(good) - 1), half),
        (good[:-1], half),
        (flipped(good, 20), damaged),
        (good[:5], damaged),
        (b"", damaged),
    ):
        content.write_bytes(damaged)
        part.write_bytes(bad)
        assert bao("repair", content, outboard, "--root", root, "--from-slice", part) == 1
        assert content.read_bytes() == left
        assert outboard.read_bytes() == pairs
    part.write_bytes((SIZE + 1).to_bytes(8, "little") + good[8:])
    assert bao("repair", content, outboard, "--root", root, "--from-slice", part) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "required"),
        (("encode",), "required"),
        (("encode", "-"), "say with -o"),
        (("encode", "-", "--combined", "-o", "x"), "needs a file"),
        (("encode", "{content}", "--combined"), "say with -o"),
        (("encode", "{content}", "--combined", "-o", "x", "--order", "post"), "always"),
        (("encode", "{content}", "-o", "{content}"), "would replace the content"),
        (("decode", "{content}", "-o", "{content}", "--root", "{root}"), "would replace the encoding"),
        (("encode", "{content}", "--chunk-log", "11"), "between 0 and 10"),
        (("encode", "{content}", "--threads", "0"), "between 1 and 64"),
        (("encode", "{content}", "--engine", "gpu"), "invalid choice"),
        (("verify", "{content}", "{content}.bao4"), "--root"),
        (("verify", "{content}", "{content}.bao4", "--root", "12"), "64 hex digits"),
        (("verify", "{content}", "{content}.bao4", "--root", "{root}", "--chunk-log", "5"), "say --chunk-log 4"),
        (("decode", "x", "--root", "{root}", "--chunks", "5-3"), "ends before it begins"),
        (("decode", "x", "--root", "{root}", "--chunks", "a"), "no range of chunks"),
        (("decode", "x", "--root", "{root}", "--start", "-1"), "--start"),
        (("decode", "x", "--root", "{root}", "--chunks", "1", "--start", "1"), "not by both"),
        (("repair", "a", "b", "--root", "{root}", "--from", "c", "--plan"), "not allowed with"),
    ],
)
def test_wrong_usage(
    arguments: tuple[str, ...], reason: str, content: Path, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and one line that says what to do; the content stays what it is."""
    assert bao(*(argument.format(content=content, root=root) for argument in arguments)) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert "Traceback" not in said.err
    assert content.read_bytes() == pattern(SIZE)


def test_files_that_cannot_be_used(
    content: Path, root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and the name of the file."""
    missing = tmp_path / "missing"
    for arguments in (
        ("encode", missing),
        ("hash", missing),
        ("verify", missing, f"{content}.bao4", "--root", root),
        ("verify", content, missing, "--root", root),
        ("decode", missing, "--root", root, "-o", tmp_path / "out"),
        ("encode", content, "-o", tmp_path / "no" / "folder"),
    ):
        assert bao(*arguments) == 1
        said = capsys.readouterr()
        assert said.err.startswith("rmb-peer bao: cannot use ")
        assert "No such file or directory" in said.err
        assert said.err.count("\n") == 1


async def test_proven_content_is_written_before_the_end(content: Path, root: str) -> None:
    """A reader at the other end of a pipe gets what is proven while the rest is still to come."""
    combined = await bao_process("encode", content, "--combined", "-o", "-")
    process = await start_peer("bao", "decode", "--root", root, stdin=-1)
    async with background(process):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(combined.out[:200_000])
        await process.stdin.drain()
        assert await process.stdout.readexactly(100_000) == content.read_bytes()[:100_000]
        process.stdin.write(combined.out[200_000:])
        process.stdin.close()
        assert await process.stdout.read() == content.read_bytes()[100_000:]
        assert await process.wait() == 0


async def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """A bar with rate and time left on a terminal, and nothing of it elsewhere."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(30 * 2**20)  # several steps: a rate needs two
    leader, follower = pty.openpty()
    try:
        process = await start_peer(
            "bao", "encode", str(path), stdin=DEVNULL, stderr=follower, env={"TERM": "xterm-256color", "COLUMNS": "120"}
        )
        os.close(follower)
        async with background(process):
            assert process.stdout is not None
            shown = await get_running_loop().run_in_executor(None, _read_all, leader)
            assert await process.stdout.read() == blake3.blake3(path.read_bytes()).hexdigest().encode() + b"\n"
            assert await process.wait() == 0
    finally:
        os.close(leader)
    assert b"encoding" in shown
    assert b"MiB" in shown
    assert b"/s" in shown


def _read_all(descriptor: int) -> bytes:
    """Everything until the other side of a terminal is closed."""
    pieces: list[bytes] = []
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # Linux reports the closing of the other side as an error
            data = b""
        if not data:
            return b"".join(pieces)
        pieces.append(data)


async def test_a_terminal_gets_no_bytes(content: Path, root: str) -> None:
    """Encodings are not written to a terminal by mistake."""
    leader, follower = pty.openpty()
    try:
        process = await start_peer("bao", "slice", str(content), f"{content}.bao4", "--root", root, stdout=follower)
        _, err = await process.communicate()
    finally:
        os.close(leader)
        os.close(follower)
    assert process.returncode == 2
    assert b"this would write bytes to a terminal" in err


def test_help_names_every_action() -> None:
    """The help is complete."""
    text = build_parser().format_help()
    for action in ("encode", "hash", "verify", "slice", "decode", "repair"):
        assert f"rmb-peer bao {action}" in text or action == "hash"
