"""Both files of vectors, with every engine: hashes, encodings, outboards, slices, seeks, reports, provable ranges."""

import hashlib
import os
from functools import cache
from typing import Any

import blake3
import pytest

from rmb_peer.protocol.bao import (
    EVERYTHING,
    ChunkRanges,
    CombinedStore,
    Damage,
    Decoder,
    OutboardEncoder,
    OutboardStore,
    Proven,
    Truncated,
    VerificationFailed,
    VerifiedReader,
    bytes_reader,
    check_store,
    converted,
    decode_range_spec,
    encode_combined,
    encode_outboard,
    encode_range_spec,
    extract,
    store_with_header,
)
from rmb_peer.protocol.bao.engines import ENGINE_NAMES, Engine
from rmb_peer.protocol.bao.geometry import group_count, left_count, node_number, post_position, pre_position
from rmb_peer.protocol.bao.range_spec import spans_of
from tests.support.bao import EXTRA, engine_of, flipped, pattern, upstream, upstream_input

ALL = bool(os.environ.get("RMB_BAO_ALL"))
"""Plain Python hashes about a megabyte in a second: it gets the largest inputs, and repetitions, only when asked."""

PURE_BYTES_MAX = 70_000

SECTIONS = ("hash", "encode", "outboard", "seek", "slice")
PLACES = range(13)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ranges_of(vector: dict[str, Any]) -> ChunkRanges:
    return ChunkRanges.of([(start, end) for start, end in vector["ranges"]])


@pytest.fixture(params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(request.param)


def fits(engine: Engine, size: int, repeats: int = 1) -> bool:
    """Whether an engine is fast enough for this."""
    return not is_spared(engine) or size * repeats <= PURE_BYTES_MAX


def is_spared(engine: Engine) -> bool:
    """Whether an engine is too slow for everything."""
    return engine.name == "pure" and not ALL


def decoded(decoder: Decoder, encoding: bytes) -> bytes:
    """All content of an encoding."""
    pieces = [piece.data for piece in decoder.feed(encoding) if isinstance(piece, Proven)]
    decoder.finish()
    return b"".join(pieces)


def released(decoder: Decoder, encoding: bytes) -> tuple[list[tuple[int, bytes]], Damage | None]:
    """What was released, and the report."""
    pieces: list[tuple[int, bytes]] = []
    try:
        pieces.extend((piece.start, piece.data) for piece in decoder.feed(encoding) if isinstance(piece, Proven))
        decoder.finish()
    except VerificationFailed as error:
        return pieces, error.damage
    return pieces, None


# --- bao_extra.json ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blob", EXTRA["blobs"], ids=lambda blob: str(blob["size"]))
def test_blobs(engine: Engine, blob: dict[str, Any]) -> None:
    """Root, outboards in both orders and with header, combined encodings; for both group sizes."""
    size = blob["size"]
    if not fits(engine, size):
        pytest.skip("too long for plain Python")
    content = pattern(size)
    assert sha256(content) == blob["sha256"]
    for chunk_log in (0, 4):
        expected = blob[f"chunk_log_{chunk_log}"]
        for order in ("pre", "post"):
            root, outboard = encode_outboard(content, chunk_log, order, engine=engine)
            assert root.hex() == blob["blake3"]
            assert sha256(outboard) == expected[f"{order}_order_pairs_sha256"]
        root, combined = encode_combined(content, chunk_log, engine=engine)
        assert (len(combined), sha256(combined)) == (expected["combined_len"], expected["combined_sha256"])
        assert decoded(Decoder(root, chunk_log=chunk_log, engine=engine), combined) == content
    _, outboard = encode_outboard(content, 0, with_size=True, engine=engine)
    assert len(outboard) == blob["chunk_log_0"]["outboard_with_header_len"]
    assert sha256(outboard) == blob["chunk_log_0"]["outboard_with_header_sha256"]


@cache
def prepared(size: int, chunk_log: int, engine: Engine) -> tuple[bytes, OutboardStore]:
    content = pattern(size)
    root, outboard = encode_outboard(content, chunk_log, engine=engine)
    return root, OutboardStore(bytes_reader(content), bytes_reader(outboard), size, chunk_log)


@cache
def encoded(size: int, chunk_log: int, selection: ChunkRanges, header: bool, engine: Engine) -> tuple[bytes, bytes]:
    """Root and encoding of a selection."""
    root, store = prepared(size, chunk_log, engine)
    return root, b"".join(extract(store, root, selection, header=header, engine=engine))


@pytest.mark.parametrize("vector", EXTRA["slices"], ids=lambda v: f"{v['size']}-{v['start']}-{v['len']}")
def test_slices(engine: Engine, vector: dict[str, Any]) -> None:
    """Slices are cut out of outboards of any group size and of combined encodings, and decode to what was asked for."""
    size, start, length = vector["size"], vector["start"], vector["len"]
    if not fits(engine, size):
        pytest.skip("too long for plain Python")
    for chunk_log in (0,) if is_spared(engine) else (0, 4):
        root, store = prepared(size, chunk_log, engine)
        selection = ChunkRanges.of_bytes(start, length)
        cut = b"".join(extract(store, root, selection, chunk_log=0, engine=engine))
        assert (len(cut), sha256(cut)) == (vector["slice_len"], vector["slice_sha256"])
        _, encoding = encoded(size, chunk_log, EVERYTHING, True, engine)
        again = extract(CombinedStore(bytes_reader(encoding), chunk_log), root, selection, chunk_log=0, engine=engine)
        assert b"".join(again) == cut
    content = decoded(Decoder.of_slice(root, start, length, engine=engine), cut)
    assert (len(content), sha256(content)) == (vector["content_len"], vector["content_sha256"])


@pytest.mark.parametrize(
    "vector", EXTRA["range_encodings"], ids=lambda v: f"{v['size']}-{v['chunk_log']}-{v['ranges']}"
)
def test_range_encodings(engine: Engine, vector: dict[str, Any]) -> None:
    """Encodings of selections, whatever the group size of the outboard they are made from, and their items."""
    size, chunk_log, selection = vector["size"], vector["chunk_log"], ranges_of(vector)
    if not fits(engine, size):
        pytest.skip("too long for plain Python")
    for store_log in (chunk_log,) if is_spared(engine) else (chunk_log, 0, 2, 5):
        root, store = prepared(size, store_log, engine)
        pieces = list(extract(store, root, selection, chunk_log=chunk_log, header=False, engine=engine))
        encoding = b"".join(pieces)
        assert (len(encoding), sha256(encoding)) == (vector["encoded_len"], vector["encoded_sha256"])
    decoder = Decoder(root, chunk_log=chunk_log, selection=selection, size=size, engine=engine)
    content = pattern(size)
    leaves: list[Any] = []
    for byte in range(len(encoding)):
        leaves += decoder.feed(encoding[byte : byte + 1]) if len(encoding) < 30_000 else []
    if len(encoding) < 30_000:
        decoder.finish()
        expected = [(start, content[start : start + length]) for kind, start, length in vector["items"] if kind == "L"]
        assert [(leaf.start, leaf.data) for leaf in leaves] == [leaf for leaf in expected if leaf[1]]


def mutated(encoding: bytes, root: bytes, mutation: list[Any]) -> tuple[bytes, bytes]:
    match mutation:
        case ["none"] | ["claim_size", _]:
            return encoding, root
        case ["wrong_root"]:
            return encoding, flipped(root, 0)
        case ["flip", offset, mask]:
            return flipped(encoding, offset, mask), root
        case ["truncate", length]:
            return encoding[:length], root
        case ["append", text]:
            return encoding + bytes.fromhex(text), root
        case ["set_header", value]:
            return value.to_bytes(8, "little") + encoding[8:], root
        case ["swap", first, second, length]:
            changed = bytearray(encoding)
            changed[first : first + length] = encoding[second : second + length]
            changed[second : second + length] = encoding[first : first + length]
            return bytes(changed), root
    raise AssertionError(mutation)


def report(damage: Damage | None) -> tuple[Any, ...]:
    return () if damage is None else (damage.kind, damage.item, damage.start, damage.length)


def expected_report(expect: dict[str, Any]) -> tuple[Any, ...]:
    if expect["result"] == "ok":
        return ()
    return expect["result"].replace("_", " "), expect["item"], expect["subtree_start"], expect["subtree_len"]


SLICE_CASES = [(v, case) for v in EXTRA["slice_cases"] for case in v["cases"]]


@pytest.mark.parametrize(
    ("vector", "case"),
    SLICE_CASES,
    ids=[f"{v['size']}-{v['start']}-{v['len']}-{c['mutation']}" for v, c in SLICE_CASES],
)
@pytest.mark.parametrize("piece_bytes", [2**20, 7])
def test_damaged_slices(engine: Engine, vector: dict[str, Any], case: dict[str, Any], piece_bytes: int) -> None:
    """What a decoder reports and releases for damaged slices, fed at once or in small pieces."""
    if is_spared(engine) and piece_bytes == 7:
        pytest.skip("too long for plain Python")
    start, length = vector["start"], vector["len"]
    root, cut = encoded(vector["size"], 0, ChunkRanges.of_bytes(start, length), True, engine)
    assert sha256(cut) == vector["slice_sha256"]
    cut, root = mutated(cut, root, case["mutation"])
    decoder = Decoder.of_slice(root, start, length, engine=engine)
    pieces: list[tuple[int, bytes]] = []
    damage = None
    try:
        for offset in range(0, len(cut), piece_bytes):
            fed = decoder.feed(cut[offset : offset + piece_bytes])
            pieces.extend((piece.start, piece.data) for piece in fed if isinstance(piece, Proven))
        decoder.finish()
    except VerificationFailed as error:
        damage = error.damage
    assert report(damage) == expected_report(case["expect"])
    content = b"".join(data for _, data in pieces)
    assert (len(content), sha256(content)) == (case["expect"]["released_len"], case["expect"]["released_sha256"])


RANGE_CASES = [(v, case) for v in EXTRA["range_cases"] for case in v["cases"]]


@pytest.mark.parametrize(
    ("vector", "case"), RANGE_CASES, ids=[f"{v['size']}-{v['ranges']}-{c['mutation']}" for v, c in RANGE_CASES]
)
def test_damaged_range_encodings(engine: Engine, vector: dict[str, Any], case: dict[str, Any]) -> None:
    """The same for encodings of selections, with the number of the node or chunk."""
    size, chunk_log, selection = vector["size"], vector["chunk_log"], ranges_of(vector)
    root, encoding = encoded(size, chunk_log, selection, False, engine)
    encoding, root = mutated(encoding, root, case["mutation"])
    claimed = case["mutation"][1] if case["mutation"][0] == "claim_size" else size
    decoder = Decoder(root, chunk_log=chunk_log, selection=selection, size=claimed, engine=engine)
    pieces, damage = released(decoder, encoding)
    assert report(damage) == expected_report(case["expect"])
    if damage is not None:
        assert damage.number == case["expect"]["number"]
    leaves = [[start, len(data)] for start, data in pieces]
    assert leaves == case["expect"]["leaves_before"]
    assert all(pattern(size)[start : start + len(data)] == data for start, data in pieces)


@pytest.mark.parametrize("vector", EXTRA["range_specs"], ids=lambda v: v["postcard_hex"])
def test_range_specs(vector: dict[str, Any]) -> None:
    """Selections on the wire, both ways."""
    selection = ranges_of(vector)
    assert spans_of(selection) == vector["spans"]
    assert encode_range_spec(selection).hex() == vector["postcard_hex"]
    assert decode_range_spec(bytes.fromhex(vector["postcard_hex"])) == selection


@pytest.mark.parametrize("vector", EXTRA["offsets"], ids=lambda v: f"{v['size']}-{v['chunk_log']}")
def test_positions(vector: dict[str, Any]) -> None:
    """Node numbers and places of pairs in both orders."""
    size, log = vector["size"], vector["chunk_log"]
    groups = group_count(size, log)
    assert groups == vector["groups"]
    for first, end, number, pre, post in vector["nodes"]:
        assert (pre_position(first, end, groups), post_position(first, end)) == (pre, post)
        assert (first + left_count(end - first)) * 2**log - 1 == number
        chunks = min(end << log, -(-size // 1024)) - (first << log)
        assert node_number(first << log, chunks) == number


@pytest.mark.parametrize("vector", EXTRA["validation"], ids=lambda v: f"{v['size']}-{v['mutation']}")
@pytest.mark.parametrize("order", ["pre", "post"])
def test_provable_ranges(engine: Engine, vector: dict[str, Any], order: Any) -> None:
    """Which chunks are proven when content or pairs are damaged."""
    size, chunk_log = vector["size"], vector["chunk_log"]
    if is_spared(engine) and order == "post":
        pytest.skip("too long for plain Python")
    content = pattern(size)
    root, pairs = encode_outboard(content, chunk_log)  # right by the vectors above; what is tested is the check
    match vector["mutation"]:
        case ["data", offset]:
            content = flipped(content, offset)
        case ["pair", offset]:
            pairs = flipped(pairs, offset)
        case ["truncate_pairs", length]:
            pairs = pairs[:length]
    if order == "post":
        if len(pairs) < 64 * (group_count(size, chunk_log) - 1):
            pytest.skip("a truncated pre-order outboard has no other order")
        pairs = bytes(converted(pairs, size, chunk_log, "pre", "post"))
    store = OutboardStore(bytes_reader(content), bytes_reader(pairs), size, chunk_log, order)
    found = check_store(store, root, engine)
    assert [list(r) for r in found.good.ranges()] == vector["valid_chunk_ranges"]
    assert found.is_good == (vector["mutation"] == ["none"])


# --- rhio, appendix B -------------------------------------------------------------------------------------------------

RHIO = [
    (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", None),
    (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213", None),
    (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7", None),
    (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444", None),
    (16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4", None),
    (16385, "1dabe216be2578830263b049de1639f39f05a4da616b9b78c7a5e4e41662fd1f",
     "5626a11c3fae62894290bd6e4fdd50f8199c5775352737fa9f6f63df38a6838f"),
    (32768, "162183d1f9184474f5a5c9e6224e66720cdb6523f822e52d9b1efa30893f48f9",
     "08ec3d9d67c222248d749ee837cd35b867228897dc930b3baf11d14fe4ef7384"),
    (49153, "447d09cdb7cc2b870f041eda4d9b759195db784047b12666ec29e6905d38ac9c",
     "44955c19904806711ffaed3cc31282e3e1af3eb22fb7a8cc3a16cb534c6a7dc7"),
    (100000, "d93c23eedaf165a7e0be908ba86f1a7a520d568d2d13cde787c8580c5c72cc54",
     "5cd8e354c507dcd17e7d4c9fac4c1d59aadf90177cd7d98d1e681bf33221bfc1"),
    (262145, "531c319935cf78f34869faebd865e5748266b1799039103bfb851a680d9ed30c",
     "8e8a15b145b8fb7df773764c1034af8847f1ec90fa8d3539bf27dbe618fa7558"),
]  # fmt: skip


@pytest.mark.parametrize(("size", "root", "outboard_hash"), RHIO, ids=[str(row[0]) for row in RHIO])
def test_sidecars_of_rhio(engine: Engine, size: int, root: str, outboard_hash: str | None) -> None:
    """Spec rhio, appendix B: the files that rhio keeps beside an object."""
    if not fits(engine, size):
        pytest.skip("too long for plain Python")
    found, outboard = encode_outboard((bytes(range(251)) * (size // 251 + 1))[:size], 4, engine=engine)
    assert found.hex() == root
    assert outboard == b"" if outboard_hash is None else blake3.blake3(outboard).hexdigest() == outboard_hash


# --- bao_test_vectors.json: upstream's own ----------------------------------------------------------------------------


def section(name: str, place: int, engine: Engine, repeats: int = 1) -> tuple[dict[str, Any], bytes]:
    vectors = upstream()[name]
    assert len(vectors) == len(PLACES)
    vector = vectors[place]
    if not fits(engine, vector["input_len"], repeats):
        pytest.skip("too long for plain Python")
    return vector, upstream_input(vector["input_len"])


@pytest.mark.parametrize("place", PLACES)
def test_upstream_hash(engine: Engine, place: int) -> None:
    """Section `hash`."""
    vector, content = section("hash", place, engine)
    encoder = OutboardEncoder(0, engine)
    for _ in encoder.update(content):
        pass
    assert encoder.finish().root.hex() == vector["bao_hash"]


@pytest.mark.parametrize("place", PLACES)
def test_upstream_encode(engine: Engine, place: int) -> None:
    """Section `encode`: exact bytes, and every corruption is noticed."""
    vector, content = section("encode", place, engine)
    root, combined = encode_combined(content, engine=engine)
    assert root.hex() == vector["bao_hash"]
    assert (len(combined), blake3.blake3(combined).hexdigest()) == (vector["output_len"], vector["encoded_blake3"])
    assert decoded(Decoder(root, engine=engine), combined) == content
    for offset in vector["corruptions"] if fits(engine, len(content), len(vector["corruptions"])) else ():
        pieces, damage = released(Decoder(root, engine=engine), flipped(combined, offset))
        assert damage is not None
        assert all(content[start : start + len(data)] == data for start, data in pieces)


@pytest.mark.parametrize("place", PLACES)
def test_upstream_outboard(engine: Engine, place: int) -> None:
    """Section `outboard`: exact bytes, and every corruption of either stream is noticed."""
    vector, content = section("outboard", place, engine)
    root, outboard = encode_outboard(content, 0, with_size=True, engine=engine)
    assert root.hex() == vector["bao_hash"]
    assert (len(outboard), blake3.blake3(outboard).hexdigest()) == (vector["output_len"], vector["encoded_blake3"])

    def is_good(content: bytes, outboard: bytes) -> bool:
        store = store_with_header(bytes_reader(content), bytes_reader(outboard))
        return check_store(store, root, engine).is_good

    assert is_good(content, outboard)
    corruptions = len(vector["outboard_corruptions"]) + len(vector["input_corruptions"])
    if fits(engine, len(content), corruptions):
        assert not any(is_good(content, flipped(outboard, offset)) for offset in vector["outboard_corruptions"])
        assert not any(is_good(flipped(content, offset), outboard) for offset in vector["input_corruptions"])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["combined", "outboard"])
def test_upstream_seek(engine: Engine, place: int, kind: str) -> None:
    """Section `seek`: in any order, repeatedly, also beyond the end."""
    vector, content = section("seek", place, engine, 2)
    if kind == "combined":
        root, combined = encode_combined(content, engine=engine)
        reader = VerifiedReader(CombinedStore(bytes_reader(combined)), root, engine)
    else:
        root, outboard = encode_outboard(content, 0, with_size=True, engine=engine)
        reader = VerifiedReader(store_with_header(bytes_reader(content), bytes_reader(outboard)), root, engine)
    offsets = vector["seek_offsets"]
    for offset in offsets if is_spared(engine) else [*offsets, *reversed(offsets), *offsets[::2]]:
        reader.seek(offset)
        assert reader.read(5000) == content[offset : offset + 5000]
    reader.seek(0)
    assert reader.read(2**64) == content
    assert reader.size == len(content)


@pytest.mark.parametrize("place", PLACES)
def test_upstream_slice(engine: Engine, place: int) -> None:
    """Section `slice`: exact bytes, what they decode to, and every corruption is noticed."""
    vector, content = section("slice", place, engine)
    root, store = None, None
    for cut in vector["slices"]:
        start, length = cut["start"], cut["len"]
        if root is None:
            root, outboard = encode_outboard(content, 0, engine=engine)
            store = OutboardStore(bytes_reader(content), bytes_reader(outboard), len(content), 0)
        assert store is not None
        encoding = b"".join(extract(store, root, ChunkRanges.of_bytes(start, length), engine=engine))
        assert (len(encoding), blake3.blake3(encoding).hexdigest()) == (cut["output_len"], cut["output_blake3"])
        assert (
            decoded(Decoder.of_slice(root, start, length, engine=engine), encoding) == content[start : start + length]
        )
        for offset in cut["corruptions"] if fits(engine, len(encoding), len(cut["corruptions"])) else ():
            pieces, damage = released(Decoder.of_slice(root, start, length, engine=engine), flipped(encoding, offset))
            assert damage is not None
            assert all(content[at : at + len(data)] == data for at, data in pieces)


def test_every_section_is_used() -> None:
    """No part of either file is left out."""
    assert set(upstream()) - {"_comment"} == set(SECTIONS)
    assert set(EXTRA) - {"about"} == {
        "blobs", "chunk_cvs", "subtree_cvs", "parent_cvs", "slices", "range_encodings", "slice_cases", "range_cases",
        "range_specs", "offsets", "validation",
    }  # fmt: skip


def test_the_empty_stream_is_no_encoding_of_nothing(engine: Engine) -> None:
    """Eight zero bytes are valid under one hash only, and no bytes at all under none."""
    for root, error in ((b"\1" * 32, VerificationFailed), (bytes(32), VerificationFailed)):
        with pytest.raises(error):
            decoded(Decoder(root, selection=EVERYTHING, engine=engine), bytes(8))
    with pytest.raises(Truncated):
        Decoder(bytes(32), engine=engine).finish()
