"""`rmb-peer bao`: build, check, cut, decode and repair verified content (spec bao).

It needs no gateway and no Redis. This file holds the flags; what the actions do is in the modules `bao_*` beside it.
"""

import argparse
import re
from pathlib import Path

from rmb_peer.commands.common import EXIT_FAILED, EXIT_USAGE, complain, exit_on_sigterm, make_parser

PROG = "rmb-peer bao"

_ENGINES = ("auto", "llvmlite", "wasmtime", "pure")  # of protocol/bao/engines, which is not imported for --help
_CHUNK_LOG_MAX = 10
_THREADS_MAX = 64  # a guess

_EPILOG = """\
examples:
  rmb-peer bao encode disk.img                       print the root hash, write the outboard to disk.img.bao4
  cat disk.img | rmb-peer bao encode - -o disk.bao4
  rmb-peer bao verify disk.img disk.img.bao4 --root HASH --ranges
  rmb-peer bao slice disk.img disk.img.bao4 --root HASH --start 1000000 --len 5000 -o part
  rmb-peer bao decode part --root HASH --start 1000000 --len 5000 > bytes
  rmb-peer bao encode disk.img --combined -o - | ssh host rmb-peer bao decode - --root HASH -o disk.img
  rmb-peer bao repair disk.img disk.img.bao4 --root HASH --from /mnt/copy/disk.img

repair over a network:
  rmb-peer bao repair disk.img disk.img.bao4 --root HASH --plan          prints the damaged chunks, such as 768-783
  rmb-peer bao slice disk.img disk.img.bao4 --root HASH --chunks 768-783 -o part        where the content is whole
  rmb-peer bao repair disk.img disk.img.bao4 --root HASH --from-slice part

The root hash is the ordinary BLAKE3 hash of the content. An outboard holds 64 bytes for each group of 16 KiB (chunk log
4, as iroh-blobs and rhio have it). --chunk-log 0 together with --with-size is the format of the bao tool.
- stands for standard input or output.

--json: one object on standard output, or on standard error when standard output carries data. Always: action, engine,
seconds, bytes. Damage: kind, item, start, length, number, text.

exit codes:
  0  done, and everything is proven
  1  damage (standard error says what and where), or a file cannot be read or written
  2  wrong usage
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    parser = make_parser(PROG, "Build, check, cut, decode and repair verified content.", _EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="encode|hash|verify|slice|decode|repair")
    _add_encode(_action(actions, "encode", "compute the root hash and write the outboard"))
    _add_hash(_action(actions, "hash", "compute the root hash only"))
    _add_verify(_action(actions, "verify", "check a file against its outboard"))
    _add_slice(_action(actions, "slice", "cut out a part that can be verified by itself"))
    _add_decode(_action(actions, "decode", "verify an encoding and write the content"))
    _add_repair(_action(actions, "repair", "heal a damaged file and its outboard"))
    return parser


def main(argv: list[str]) -> int:
    """Run the command; see the help for exit codes."""
    arguments = build_parser().parse_args(argv)
    from rmb_peer.bao_files.reading import ContentChanged
    from rmb_peer.commands import bao_common, bao_cut, bao_encode, bao_repair, bao_verify
    from rmb_peer.protocol.bao import VerificationFailed, WrongArgument
    from rmb_peer.protocol.bao.engines import EngineUnavailable

    exit_on_sigterm()
    try:
        match arguments.action:
            case "encode":
                return bao_encode.encode(arguments)
            case "hash":
                return bao_encode.hash_files(arguments)
            case "verify":
                return bao_verify.verify(arguments)
            case "slice":
                return bao_cut.cut(arguments)
            case "decode":
                return bao_cut.decode(arguments)
            case _:
                return bao_repair.repair(arguments)
    except VerificationFailed as error:
        complain(PROG, bao_common.source_name(arguments) + str(error))
        return EXIT_FAILED
    except (WrongArgument, EngineUnavailable) as error:
        complain(PROG, str(error))
        return EXIT_USAGE
    except BrokenPipeError:
        raise  # the reader of our output has gone: the caller of this command knows what to do
    except (OSError, ContentChanged) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        complain(PROG, f"cannot use {reason}" if isinstance(error, OSError) else reason)
        return EXIT_FAILED


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    action.add_argument("--json", action="store_true", help="report as one JSON object")
    action.add_argument(
        "--engine", choices=_ENGINES, default="auto", help="what computes (default: the fastest there is)"
    )
    action.add_argument("--quiet", action="store_true", help="no progress bar")
    return action


def _add_threads(action: argparse.ArgumentParser) -> None:
    action.add_argument("--threads", metavar="N", type=_threads, help="how many work at once (default: up to 4)")


def _add_format(action: argparse.ArgumentParser, what: str) -> None:
    action.add_argument(
        "--chunk-log", metavar="N", type=_chunk_log, default=4, help=f"group size of the {what}: 2^N KiB (default 4)"
    )


def _add_outboard_format(action: argparse.ArgumentParser) -> None:
    _add_format(action, "outboard")
    action.add_argument("--order", choices=("pre", "post"), default="pre", help="order of its pairs (default pre)")
    action.add_argument(
        "--with-size", action="store_true", help="it holds the size: before the pairs (pre) or behind them (post)"
    )


def _add_stored(action: argparse.ArgumentParser) -> None:
    """A file, its outboard, its root hash and its size."""
    action.add_argument("file", metavar="FILE", type=Path)
    action.add_argument("outboard", metavar="OUTBOARD", type=Path)
    _add_root(action)
    _add_outboard_format(action)
    action.add_argument(
        "--size", metavar="BYTES", type=_count, help="size that FILE should have (default: the size that it has)"
    )


def _add_root(action: argparse.ArgumentParser) -> None:
    action.add_argument("--root", metavar="HASH", type=_root, required=True, help="trusted root hash, 64 hex digits")


def _add_selection(action: argparse.ArgumentParser) -> None:
    action.add_argument("--start", metavar="BYTE", type=_count, help="first byte (default 0)")
    action.add_argument("--len", metavar="BYTES", type=_count, help="how many bytes (default: to the end)")
    action.add_argument("--chunks", metavar="LIST", type=_chunks, help="chunks of 1 KiB instead, such as 0-15,40,96-")


def _add_encode(action: argparse.ArgumentParser) -> None:
    action.add_argument("file", metavar="FILE", help="content; - for standard input")
    action.add_argument("-o", "--out", metavar="OUT", help="where to write (default: FILE.baoN, N being the chunk log)")
    _add_outboard_format(action)
    action.add_argument("--combined", action="store_true", help="write content and pairs in one, with the size before")
    _add_threads(action)


def _add_hash(action: argparse.ArgumentParser) -> None:
    action.add_argument("files", metavar="FILE", nargs="+", help="content; - for standard input")
    _add_threads(action)


def _add_verify(action: argparse.ArgumentParser) -> None:
    _add_stored(action)
    action.add_argument("--ranges", action="store_true", help="print which ranges are good and which are bad")
    _add_threads(action)


def _add_slice(action: argparse.ArgumentParser) -> None:
    action.add_argument("file", metavar="FILE", type=Path, help="content, or a combined encoding")
    action.add_argument("outboard", metavar="OUTBOARD", type=Path, nargs="?", help="leave out for a combined encoding")
    _add_root(action)
    _add_outboard_format(action)
    action.add_argument(
        "--size", metavar="BYTES", type=_count, help="size that FILE should have (default: the size that it has)"
    )
    _add_selection(action)
    action.add_argument(
        "--slice-log", metavar="N", type=_chunk_log, help="group size of the slice (default: that of the outboard)"
    )
    action.add_argument("-o", "--out", metavar="OUT", default="-", help="where to write (default: standard output)")


def _add_decode(action: argparse.ArgumentParser) -> None:
    action.add_argument("file", metavar="FILE", nargs="?", default="-", help="encoding (default: standard input)")
    _add_root(action)
    _add_format(action, "encoding")
    _add_selection(action)
    action.add_argument("-o", "--out", metavar="OUT", default="-", help="where to write (default: standard output)")


def _add_repair(action: argparse.ArgumentParser) -> None:
    _add_stored(action)
    source = action.add_mutually_exclusive_group()
    source.add_argument("--from", metavar="COPY", type=Path, dest="copy", help="another copy of FILE, trusted or not")
    source.add_argument(
        "--from-slice", metavar="SLICE", help="a slice of exactly the damaged chunks; - for standard input"
    )
    source.add_argument("--plan", action="store_true", help="change nothing, print the chunks that have to be fetched")
    _add_threads(action)


def _threads(text: str) -> int:
    return _number(text, 1, _THREADS_MAX)


def _chunk_log(text: str) -> int:
    return _number(text, 0, _CHUNK_LOG_MAX)


def _count(text: str) -> int:
    return _number(text, 0, 2**64 - 1)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is no number between {low} and {high}")
    return int(text)


def _root(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a root hash has 64 hex digits")
    return bytes.fromhex(text)


def _chunks(text: str) -> list[tuple[int, int | None]]:
    """Ranges `[start, end)` of a list such as `0-15,40,96-`, whose ends are included."""
    ranges: list[tuple[int, int | None]] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,19})(-([0-9]{1,19})?)?", part)
        if match is None:
            raise argparse.ArgumentTypeError(f"{part!r} is no range of chunks, such as 40, 0-15 or 96-")
        first, dash, last = match.groups()
        end = None if dash and last is None else int(last or first) + 1
        if end is not None and end <= int(first):
            raise argparse.ArgumentTypeError(f"{part!r} ends before it begins")
        ranges.append((int(first), end))
    return ranges
