"""Regenerates rmb_peer/protocol/pb from the .proto files beside this script.

Run from the repository root with the test extra installed: ``python schemas/generate.py [OUTPUT_FOLDER]``.
A test runs the same function into a temporary folder and compares, so the committed files cannot drift.
"""

import sys
from pathlib import Path

SCHEMAS = Path(__file__).resolve().parent
DEFAULT_OUTPUT = SCHEMAS.parent / "rmb_peer" / "protocol" / "pb"


def generate(output: Path) -> None:
    """Write the Python modules and type stubs of every .proto file here into `output`.

    Args:
        output: an existing folder.

    Raises:
        RuntimeError: protoc refused a file; its own message is on stderr.
    """
    from grpc_tools import protoc

    protos = sorted(path.name for path in SCHEMAS.glob("*.proto"))
    code = protoc.main(["protoc", f"-I{SCHEMAS}", f"--python_out={output}", f"--pyi_out={output}", *protos])
    if code != 0:
        raise RuntimeError(f"protoc ended with {code}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUTPUT)
