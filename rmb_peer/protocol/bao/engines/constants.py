"""The numbers of BLAKE3 that every engine shares (spec bao, A1), and what follows from them before any data is known.

It refuses to know how a compression is carried out.
"""

BLOCK_BYTES = 64
CHUNK_BYTES = 1024
CHUNK_BLOCKS = CHUNK_BYTES // BLOCK_BYTES
CV_BYTES = 32
PAIR_BYTES = 2 * CV_BYTES

CHUNK_START = 1
CHUNK_END = 2
PARENT = 4
ROOT = 8

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)

_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)


def _schedule() -> tuple[tuple[int, ...], ...]:
    """For each of the seven rounds, which word of the block stands at each of the sixteen places (A2, step 2)."""
    order = tuple(range(16))
    rounds = [order]
    for _ in range(6):
        order = tuple(order[place] for place in _PERMUTATION)
        rounds.append(order)
    return tuple(rounds)


SCHEDULE = _schedule()

COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
"""The state words of the quarter steps (A2, table). The four of a line are independent of each other."""
