"""Bao on random content, cuts, selections and damage: nothing unproven is released, and everything proven is."""

import hashlib
from itertools import pairwise
from typing import Any

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmb_peer.protocol.bao import (
    EVERYTHING,
    BadRangeSpec,
    Check,
    ChunkRanges,
    CombinedStore,
    Damage,
    Decoder,
    HashMismatch,
    OutboardEncoder,
    OutboardStore,
    PairBlock,
    Planner,
    Proven,
    Request,
    Truncated,
    VerificationFailed,
    VerifiedReader,
    WrongArgument,
    bytes_reader,
    check_store,
    converted,
    decode_range_spec,
    encode_combined,
    encode_outboard,
    encode_range_spec,
    engine_named,
    extract,
    store_with_header,
)
from rmb_peer.protocol.bao.check import Report
from rmb_peer.protocol.bao.engines import Engine
from rmb_peer.protocol.bao.geometry import (
    chunk_count,
    combined_bytes,
    group_count,
    is_stable,
    pairs_bytes,
    post_position,
    pre_position,
)
from rmb_peer.protocol.bao.layout import blocks
from rmb_peer.protocol.bao.range_spec import NUMBERS_MAX
from rmb_peer.protocol.bao.selection import BOUNDARY_MAX
from tests.support.bao import FAST_ENGINES, flipped, pattern, stored

FAST = engine_named(FAST_ENGINES[0])


class SmallBatches(type(FAST)):  # type: ignore[misc]
    """An engine whose batches are small: with little content it makes as many of them as a real one with much."""

    name = "small"
    levels_chunks_max = 32  # the largest group of these tests


SMALL: Engine = SmallBatches()

BORDERS = [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 4096, 4097, 5120, 8192, 8193, 16383, 16384, 16385, 20480, 32768,
           32769, 49153, 65536, 65537]  # fmt: skip
sizes = st.sampled_from(BORDERS) | st.integers(0, 70_000)
chunk_logs = st.sampled_from([0, 1, 2, 4, 5])
engines = st.sampled_from([FAST, SMALL, engine_named("wasmtime")])
selections = st.lists(st.integers(0, 75) | st.just(BOUNDARY_MAX), max_size=7, unique=True).map(
    lambda found: ChunkRanges(tuple(sorted(found)))
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[low:high] for low, high in pairwise(edges)]


def collected(decoder: Decoder, pieces: list[bytes], found: list[Proven | PairBlock]) -> Damage | None:
    """Feed everything; what comes out goes to `found`, also before a failure."""
    try:
        for piece in pieces:
            found.extend(decoder.feed(piece))
        decoder.finish()
    except VerificationFailed as error:
        return error.damage
    return None


@settings(max_examples=80)
@given(size=sizes, chunk_log=chunk_logs, engine=engines, places=st.lists(st.integers(0, 70_000), max_size=6))
def test_the_encoder_takes_content_in_any_pieces(size: int, chunk_log: int, engine: Engine, places: list[int]) -> None:
    """Root and outboard are the same however content is cut; the root is the BLAKE3 hash; pairs come in post-order."""
    content = pattern(size)
    encoder = OutboardEncoder(chunk_log, engine)
    found = [block for piece in cut(content, places) for block in encoder.update(piece)]
    assert encoder.size == size
    end = encoder.finish()
    assert (end.root, end.size) == (blake3.blake3(content).digest(), size)
    post = b"".join(block.in_order("post") for block in found + end.blocks)
    assert (end.root, post) == encode_outboard(content, chunk_log, "post", engine=FAST)
    pre = bytearray(pairs_bytes(size, chunk_log))
    for block in found + end.blocks:
        offset = block.offset("pre", group_count(size, chunk_log))
        pre[offset : offset + len(block.pairs)] = block.in_order("pre")
    assert (end.root, bytes(pre)) == encode_outboard(content, chunk_log, "pre", engine=FAST)
    assert converted(bytes(pre), size, chunk_log, "pre", "post") == post
    with pytest.raises(WrongArgument, match="finished"):
        encoder.finish()


@settings(max_examples=120)
@given(
    size=sizes, chunk_log=chunk_logs, store_log=chunk_logs, engine=engines, selection=selections,
    places=st.lists(st.integers(0, 80_000), max_size=6),
)  # fmt: skip
def test_any_selection_crosses(
    size: int, chunk_log: int, store_log: int, engine: Engine, selection: ChunkRanges, places: list[int]
) -> None:
    """A selection out of any store arrives whole, and nothing else does; with its pairs an outboard can be filled."""
    content = pattern(size)
    root, _, store = stored(content, store_log)
    encoding = b"".join(extract(store, root, selection, chunk_log=chunk_log, header=False, engine=engine))
    decoder = Decoder(root, chunk_log=chunk_log, selection=selection, size=size, with_pairs=True, engine=engine)
    found: list[Proven | PairBlock] = []
    assert collected(decoder, cut(encoding, places), found) is None
    got = {}
    for piece in found:
        if isinstance(piece, Proven):
            assert content[piece.start : piece.start + len(piece.data)] == piece.data
            got.update(dict.fromkeys(range(piece.start // 1024, chunk_count(piece.start + len(piece.data)))))
    effective = selection.clipped(size)
    assert list(got) == [chunk for chunk in range(chunk_count(size)) if chunk in effective and size]
    last_is_wanted = chunk_count(size) - 1 in effective
    assert decoder.size == (size if last_is_wanted else None)
    _, outboard = encode_outboard(content, chunk_log)
    for block in found:
        if isinstance(block, PairBlock):
            offset = block.offset("pre", group_count(size, chunk_log))
            assert outboard[offset : offset + len(block.pairs)] == block.in_order("pre")


@settings(max_examples=150)
@given(
    size=sizes, chunk_log=chunk_logs, engine=engines, selection=selections, place=st.integers(0), bit=st.integers(0, 7),
    places=st.lists(st.integers(0, 80_000), max_size=3),
)  # fmt: skip
def test_a_flipped_bit_in_an_encoding_is_reported_and_nothing_unproven_released(
    size: int, chunk_log: int, engine: Engine, selection: ChunkRanges, place: int, bit: int, places: list[int]
) -> None:
    """The report names the item that holds the bit, and exactly what stood before it was released (part D)."""
    content = pattern(size)
    root, _, store = stored(content, chunk_log)
    pieces = list(extract(store, root, selection, header=False, engine=FAST))
    encoding = b"".join(pieces)
    if not encoding:
        return
    place %= len(encoding)
    intact: list[Proven | PairBlock] = []
    collected(Decoder(root, chunk_log=chunk_log, selection=selection, size=size), [encoding[:place]], intact)
    decoder = Decoder(root, chunk_log=chunk_log, selection=selection, size=size, engine=engine)
    found: list[Proven | PairBlock] = []
    damage = collected(decoder, cut(flipped(encoding, place, 1 << bit), places), found)
    assert damage is not None
    assert damage.kind == "hash mismatch"
    assert damage.item in ("parent", "leaf")
    whole = b"".join(p.data for p in found if isinstance(p, Proven))
    assert whole == b"".join(p.data for p in intact if isinstance(p, Proven))
    with pytest.raises(HashMismatch):
        list(decoder.feed(b""))
    with pytest.raises(HashMismatch):
        decoder.finish()


@settings(max_examples=60)
@given(size=sizes, chunk_log=chunk_logs, engine=engines, place=st.integers(0), extra=st.binary(max_size=70))
def test_truncated_and_overlong_encodings(size: int, chunk_log: int, engine: Engine, place: int, extra: bytes) -> None:
    """A cut is reported at the item that is cut; surplus bytes are ignored (B3, rule 6)."""
    content = pattern(size)
    root, combined = encode_combined(content, chunk_log)
    assert len(combined) == combined_bytes(size, chunk_log)
    found: list[Proven | PairBlock] = []
    decoder = Decoder(root, chunk_log=chunk_log, engine=engine)
    assert collected(decoder, [combined + extra], found) is None
    assert b"".join(p.data for p in found if isinstance(p, Proven)) == content
    assert decoder.size == size
    found = []
    place %= len(combined)
    decoder = Decoder(root, chunk_log=chunk_log, engine=engine)
    damage = collected(decoder, [combined[:place]], found)
    assert damage is not None
    assert damage.kind == "truncated"
    assert decoder.size is None
    released = b"".join(p.data for p in found if isinstance(p, Proven))
    assert content.startswith(released)
    assert len(released) < max(size, 1)


@settings(max_examples=60)
@given(size=sizes, chunk_log=chunk_logs, claimed=st.integers(0, 2**64 - 1) | st.integers(0, 70_000))
def test_a_wrong_length_never_survives(size: int, chunk_log: int, claimed: int) -> None:
    """With a wrong header no decoding of everything succeeds, and no size is told."""
    if claimed == size:
        return
    content = pattern(size)
    root, combined = encode_combined(content, chunk_log)
    found: list[Proven | PairBlock] = []
    decoder = Decoder(root, chunk_log=chunk_log)
    assert collected(decoder, [claimed.to_bytes(8, "little") + combined[8:]], found) is not None
    assert decoder.size is None
    assert all(content[p.start : p.start + len(p.data)] == p.data for p in found if isinstance(p, Proven))
    _, outboard = encode_outboard(content, chunk_log)
    if group_count(claimed, chunk_log) < 10**4:
        store = OutboardStore(bytes_reader(content), bytes_reader(outboard), claimed, chunk_log)
        assert not check_store(store, root).is_good


@settings(max_examples=80)
@given(
    size=sizes, chunk_log=chunk_logs, engine=engines, order=st.sampled_from(["pre", "post"]),
    bad=st.lists(st.tuples(st.booleans(), st.integers(0)), max_size=4),
)  # fmt: skip
def test_damaged_storage_is_pinpointed_and_repaired(
    size: int, chunk_log: int, engine: Engine, order: Any, bad: list[tuple[bool, int]]
) -> None:
    """Good ranges are right; the plan makes the outboard whole and fetches no more than what is damaged needs."""
    content = pattern(size)
    root, outboard, _ = stored(content, chunk_log, order)
    data, pairs = bytearray(content), bytearray(outboard)
    for in_pairs, place in bad:
        target = pairs if in_pairs else data
        if target:
            target[place % len(target)] ^= 1 << place % 8
    store = OutboardStore(bytes_reader(data), bytes_reader(pairs), size, chunk_log, order)
    report = check_store(store, root, engine)
    assert report.is_good == (data == content and pairs == outboard)
    for start, end in report.good.ranges():
        stop = None if end is None else end * 1024
        assert data[start * 1024 : stop] == content[start * 1024 : stop]
    if pairs == outboard:  # then exactly the groups that differ are bad
        group = 1024 << chunk_log
        groups = [at // 1024 for at in range(0, size, group) if data[at : at + group] != content[at : at + group]]
        expected = ChunkRanges.of([(g, min(g + (1 << chunk_log), chunk_count(size))) for g in groups])
        assert ChunkRanges.of([(b.first, b.end) for b in report.bad]) == expected

    check = Check(store, root, engine)
    planner = Planner(check)
    for finding in check.findings():
        planner.add(finding)
    plan = planner.plan
    for block in plan.pairs:
        offset = store.position(block)
        pairs[offset : offset + len(block.pairs)] = block.in_order(order)
    if data == content:
        assert not plan.missing
        assert pairs == outboard
    selection = plan.selection(check)
    if not selection:
        assert (bytes(data), bytes(pairs)) == (content, outboard)
        return
    _, _, other = stored(content, chunk_log)
    encoding = b"".join(extract(other, root, selection, header=False, engine=engine))
    decoder = Decoder(root, chunk_log=chunk_log, selection=selection, size=size, with_pairs=True, engine=engine)
    for piece in decoder.feed(encoding):
        if isinstance(piece, Proven):
            data[piece.start : piece.start + len(piece.data)] = piece.data
        else:
            offset = store.position(piece)
            pairs[offset : offset + len(piece.pairs)] = piece.in_order(order)
    decoder.finish()
    assert (bytes(data), bytes(pairs)) == (content, outboard)


@settings(max_examples=50)
@given(size=sizes, chunk_log=chunk_logs, data=st.data())
def test_reads_at_random(size: int, chunk_log: int, data: st.DataObject) -> None:
    """Seeks and reads in any order give the content; the size is told only after the end was seen."""
    content = pattern(size)
    root, _, store = stored(content, chunk_log)
    reader = VerifiedReader(store, root)
    end_seen = False
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, size + 2000))
        length = data.draw(st.integers(0, size + 2000))
        reader.seek(position)
        assert reader.tell() == position
        assert reader.read(length) == content[position : position + length]
        group = 1024 << chunk_log
        reach = -(-min(position + length, size) // group) * group
        end_seen |= length > 0 and (reach >= size)
        assert reader.size == (size if end_seen else None)
    reader.seek_from_end(-min(size, 10))
    assert reader.read(20) == content[max(0, size - 10) :]
    for wrong in (lambda: reader.seek(-1), lambda: reader.read(-1), lambda: reader.seek_from_end(-size - 1)):
        with pytest.raises(WrongArgument):
            wrong()


@settings(max_examples=40)
@given(size=st.integers(1, 70_000), chunk_log=chunk_logs, place=st.integers(0), short=st.booleans())
def test_a_failed_reader_stays_failed(size: int, chunk_log: int, place: int, short: bool) -> None:
    """Damage on the path stops the walk for good (B4); what was read before is right."""
    content = pattern(size)
    root, combined = encode_combined(content, chunk_log)
    place = 8 + place % (len(combined) - 8)
    damaged = combined[:place] if short else flipped(combined, place)
    reader = VerifiedReader(CombinedStore(bytes_reader(damaged), chunk_log), root)
    with pytest.raises(VerificationFailed) as failed:
        while True:
            position = reader.tell()
            piece = reader.read(5000)
            assert content[position : position + 5000] == piece
            assert piece
    assert isinstance(failed.value, Truncated if short else HashMismatch)
    reader.seek(0)
    with pytest.raises(VerificationFailed):
        reader.read(1)


@settings(max_examples=150)
@given(
    noise=st.binary(max_size=3000),
    chunk_log=chunk_logs,
    selection=selections,
    header=st.none() | st.integers(0, 2**64 - 1),
)
def test_noise_never_crashes_a_decoder(
    noise: bytes, chunk_log: int, selection: ChunkRanges, header: int | None
) -> None:
    """Whatever arrives: a report of damage, or content whose hash is the root; memory does not follow the claim."""
    root = hashlib.sha256(noise).digest()
    found: list[Proven | PairBlock] = []
    decoder = Decoder(root, chunk_log=chunk_log, selection=selection or EVERYTHING, size=header)
    assert collected(decoder, [noise], found) is not None
    assert found == []
    if len(noise) >= 8:
        store = CombinedStore(bytes_reader(noise), chunk_log)
        with pytest.raises(VerificationFailed):
            VerifiedReader(store, root).read(1)
        with pytest.raises(VerificationFailed):
            list(extract(store, root))
        with pytest.raises(VerificationFailed):
            VerifiedReader(store_with_header(bytes_reader(b""), bytes_reader(noise), chunk_log), root).read(1)
    else:
        with pytest.raises(Truncated):
            CombinedStore(bytes_reader(noise), chunk_log)


def as_set(selection: ChunkRanges, end: int) -> set[int]:
    return {chunk for chunk in range(end) if chunk in selection}


@given(
    ranges=st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 40)), max_size=5),
    other=selections, log=st.integers(0, 3), size=st.integers(0, 40 * 1024),
)  # fmt: skip
def test_selections_are_sets(ranges: list[tuple[int, int | None]], other: ChunkRanges, log: int, size: int) -> None:
    """Union, rounding and clipping mean what they say."""
    selection = ChunkRanges.of(ranges)
    wanted = {chunk for start, end in ranges for chunk in range(start, 100 if end is None else end)}
    assert as_set(selection, 100) == wanted
    assert as_set(selection.union(other), 100) == wanted | as_set(other, 100)
    group = 1 << log
    assert as_set(selection.covering_groups(log), 96) == {
        c for c in range(96) if wanted & set(range(c // group * group, c // group * group + group))
    }
    assert as_set(selection.contained_groups(log), 96) == {
        c
        for c in range(96)
        if set(range(c // group * group, c // group * group + group)) <= wanted | set(range(100, 200))
        and (wanted & set(range(c // group * group, c // group * group + group)))
    }
    count = chunk_count(size)
    beyond = bool(selection) and any(chunk >= count for chunk in wanted)
    assert as_set(selection.clipped(size), 100) == {c for c in wanted if c < count} | ({count - 1} if beyond else set())
    for start, end in ((0, 1), (3, 9), (10, 41)):
        assert selection.touches(start, end) == bool(wanted & set(range(start, end)))
        assert selection.covers(start, end) == (set(range(start, end)) <= wanted)


@given(selection=selections, more=st.lists(st.tuples(st.integers(0, 300), selections), max_size=4))
def test_range_specs_and_requests_come_back(selection: ChunkRanges, more: list[tuple[int, ChunkRanges]]) -> None:
    """Encoding and decoding are inverse."""
    assert decode_range_spec(encode_range_spec(selection)) == selection
    request = Request(bytes(32), tuple(more))
    assert Request.decoded(request.encoded()) == request


def test_requests_of_the_specification() -> None:
    """Spec bao, C10: the examples, and what they ask for."""
    root = bytes(range(32))
    one = Request.single(root, EVERYTHING)
    assert one.encoded() == b"\0" + root + bytes.fromhex("020001000100")
    assert [bool(one.selection(position)) for position in (0, 1, 2)] == [True, False, False]
    everything = Request(root, ((0, EVERYTHING),))
    assert everything.encoded() == b"\0" + root + bytes.fromhex("01000100")
    assert everything.selection(10**6) == EVERYTHING
    later = Request(root, ((2, EVERYTHING), (3, ChunkRanges((1, 2)))))
    assert [later.selection(p).boundaries for p in (0, 1, 2, 4, 5, 9)] == [(), (), (0,), (0,), (1, 2), (1, 2)]


@given(st.binary(max_size=60))
def test_noise_never_crashes_the_reader_of_range_specs(noise: bytes) -> None:
    """Noise is a spec, or refused."""
    for decode in (decode_range_spec, Request.decoded):
        try:
            decode(noise)
        except BadRangeSpec as error:
            assert error.code == 400


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "ends too early"),
        ("01", "ends too early"),
        ("0180", "ends too early"),
        ("010000", "something behind"),
        ("020500", "repeats"),
        ("0101ff", "something behind"),
        ("02ffffffffffffffffff0101", "larger than"),
        ("01ffffffffffffffffff02", "larger than"),
        ("01ffffffffffffffffffff01", "larger than"),
    ],
)
def test_range_specs_that_are_refused(text: str, reason: str) -> None:
    """Cut off, too long, sums above 2^64 - 1, distances of zero."""
    with pytest.raises(BadRangeSpec, match=reason):
        decode_range_spec(bytes.fromhex(text))


def test_the_limit_of_a_range_spec() -> None:
    """As many numbers as allowed, and one more."""
    selection = ChunkRanges(tuple(range(NUMBERS_MAX)))
    assert decode_range_spec(encode_range_spec(selection)) == selection
    with pytest.raises(BadRangeSpec, match="more than 65536 numbers"):
        decode_range_spec(encode_range_spec(ChunkRanges(tuple(range(NUMBERS_MAX + 1)))))


@settings(max_examples=40)
@given(st.integers(1, 3000))
def test_positions_are_permutations(groups: int) -> None:
    """Every pair has its own place in either order, and blocks cover each exactly once."""
    nodes: list[tuple[int, int]] = []
    for first, end, whole in blocks(groups):
        stack = [(first, end)]
        while stack:
            low, high = stack.pop()
            nodes.append((low, high))
            if whole and high - low > 2:
                stack += [(low, (low + high) // 2), ((low + high) // 2, high)]
    assert sorted(pre_position(low, high, groups) for low, high in nodes) == list(range(groups - 1))
    assert sorted(post_position(low, high) for low, high in nodes) == list(range(groups - 1))


def test_stable_nodes() -> None:
    """Spec bao, C4: the table for 100000 bytes."""
    table = {(0, 7): False, (0, 4): True, (0, 2): True, (2, 4): True, (4, 7): False, (4, 6): True}
    assert {node: is_stable(*node, 100_000, 4) for node in table} == table
    assert is_stable(0, 2, 32_768, 4)
    assert not is_stable(0, 2, 32_767, 4)


def test_memory_of_the_encoder_does_not_grow() -> None:
    """After every piece it holds at most one batch of content and one CV for each level."""
    encoder = OutboardEncoder(4, SMALL)
    piece = bytes(300_000)
    pairs = 0
    for _ in range(60):
        pairs += sum(len(block.pairs) for block in encoder.update(piece))
        assert len(encoder._held) <= encoder.batch_bytes
        assert len(encoder._stack) <= (encoder.size // encoder.batch_bytes).bit_length() + 1
    end = encoder.finish()
    assert pairs + sum(len(block.pairs) for block in end.blocks) == pairs_bytes(18_000_000, 4)
    assert pairs_bytes(2**30, 4) / 1024 == pytest.approx(4096, abs=1)  # bytes of outboard for each MiB


def test_memory_of_the_decoder_does_not_follow_claims() -> None:
    """A header that claims 2^64 - 1 bytes costs no more than any other; one item is held at most."""
    content = pattern(65_537)
    root, combined = encode_combined(content, 4)
    decoder = Decoder(root, chunk_log=4)
    for byte in range(8, len(combined)):
        if byte == 8:
            list(decoder.feed(combined[:8]))
        list(decoder.feed(combined[byte : byte + 1]))
        assert len(decoder._held) <= 16_384
    decoder.finish()
    hostile = Decoder(root, chunk_log=10)
    assert list(hostile.feed(b"\xff" * 8)) == []
    assert len(hostile._held) == 0


def test_batches_from_elsewhere_and_fed_content_do_not_mix() -> None:
    """Whole batches are added in order, before any content is fed; and content must follow them."""
    encoder = OutboardEncoder(4, SMALL)
    size = encoder.batch_bytes
    content = pattern(2 * size + 5)
    levels = [encoder.batch_levels(content[index * size : (index + 1) * size], index) for index in range(2)]
    found = [block for batch in levels for block in encoder.add_batch(batch)]
    with pytest.raises(WrongArgument, match="more content must follow"):
        encoder.finish()
    found += encoder.update(content[2 * size :])
    with pytest.raises(WrongArgument, match="whole batches cannot follow"):
        list(encoder.add_batch(levels[0]))
    end = encoder.finish()
    assert end.root == blake3.blake3(content).digest()
    assert b"".join(b.in_order("post") for b in found + end.blocks) == encode_outboard(content, 4, "post")[1]
    with pytest.raises(WrongArgument, match="finished"):
        list(encoder.update(b"x"))


def test_outboards_with_size_and_their_conversion() -> None:
    """The size stands before a pre-order outboard and behind a post-order one; a wrong length is refused."""
    content = pattern(40_000)
    root, pre = encode_outboard(content, 4)
    assert encode_outboard(content, 4, with_size=True) == (root, (40_000).to_bytes(8, "little") + pre)
    post = bytes(converted(pre, 40_000, 4, "pre", "post"))
    assert encode_outboard(content, 4, "post", with_size=True) == (root, post + (40_000).to_bytes(8, "little"))
    with pytest.raises(WrongArgument, match="has 128 bytes, not 127"):
        converted(pre[:-1], 40_000, 4, "pre", "post")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Decoder(bytes(31)),
        lambda: Decoder(bytes(32), chunk_log=11),
        lambda: Decoder(bytes(32), chunk_log=-1),
        lambda: Decoder(bytes(32), size=2**64),
        lambda: Decoder(bytes(32), size=-1),
        lambda: Decoder(bytes(32), window=(5, 4)),
        lambda: Decoder.of_slice(bytes(32), -1, 5),
        lambda: Decoder.of_slice(bytes(32), 1, -5),
        lambda: OutboardEncoder(11),
        lambda: ChunkRanges((3, 3)),
        lambda: ChunkRanges((-1, 3)),
        lambda: ChunkRanges((1, 2**64)),
        lambda: list(extract(stored(b"x", 0)[2], bytes(31))),
        lambda: Check(stored(b"x", 0)[2], bytes(33)),
    ],
)
def test_mistakes_of_the_caller(wrong: Any) -> None:
    """They are a third thing, told before anything is read."""
    with pytest.raises(WrongArgument) as error:
        wrong()
    assert error.value.code == 400
    assert not isinstance(error.value, VerificationFailed)


def test_the_largest_group_and_content_far_out() -> None:
    """Groups of 1 MiB work; 2^64 - 1 bytes can be claimed, and the walk to the last chunk is 54 levels deep."""
    content = pattern(2**20 * 2 + 1)
    root, outboard, store = stored(content, 10)
    assert len(outboard) == 128
    assert check_store(store, root).is_good
    combined = b"".join(extract(store, root))
    found: list[Proven | PairBlock] = []
    assert collected(Decoder(root, chunk_log=10), [combined], found) is None
    assert b"".join(p.data for p in found if isinstance(p, Proven)) == content
    # A tree that nobody can fill: only the path to the last chunk is made, from the bottom up.
    engine, last, size = FAST, 2**54 - 1, 2**64 - 1
    cv = engine.chunk(bytes(1023), last, root=False)
    pairs: list[bytes] = []
    for level in range(54):
        pairs.append(bytes(32) + cv)
        cv = engine.parent(pairs[-1], root=level == 53)
    selection = ChunkRanges((last,))
    decoder = Decoder(cv, selection=selection, size=size, engine=engine)
    encoding = b"".join(reversed(pairs)) + bytes(1023)
    assert list(decoder.feed(encoding)) == [Proven(last * 1024, bytes(1023))]
    decoder.finish()
    assert decoder.size == size


def test_reports_have_a_limit() -> None:
    """A report takes as many damaged ranges as it may hold, and then says that it is full."""
    content = bytearray(pattern(64 * 1024))
    root, _, store = stored(bytes(content), 0)
    for chunk in range(0, 40, 2):
        content[chunk * 1024] ^= 1
    damaged = OutboardStore(bytes_reader(content), store._outboard, len(content), 0)
    check = Check(damaged, root)
    for limit, full in ((21, False), (20, True)):
        report = Report(check, limit)
        for finding in check.findings():
            report.add(finding)
        assert len(report.bad) == 20
        assert report.is_full == full
        assert not report.is_good


def test_texts_of_reports() -> None:
    """A report reads as a sentence, with the range of bytes."""
    assert str(Damage("truncated", "header")) == "truncated at the header"
    assert str(Damage("hash mismatch", "leaf", 1024, 1024, 1)) == (
        "hash mismatch at leaf (chunk 1), which covers bytes 1024 to 2048"
    )
    error = HashMismatch(Damage("hash mismatch", "parent", 0, 4096, 1))
    assert str(error) == "hash mismatch at parent (node 1), which covers bytes 0 to 4096"
    assert error.code == 422
