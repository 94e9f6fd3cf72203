"""The committed protobuf modules are what protoc makes of the schemas today."""

from pathlib import Path

import rmb_peer.protocol.pb as pb
from schemas.generate import DEFAULT_OUTPUT, SCHEMAS, generate


def test_committed_modules_are_up_to_date(tmp_path: Path) -> None:
    """Regenerated into an empty folder, every file is the committed one, byte for byte, and none is left over."""
    generate(tmp_path)
    committed = {path.name: path.read_bytes() for path in DEFAULT_OUTPUT.glob("*_pb2.py*")}
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(made) == sorted(committed), "run: python schemas/generate.py"
    for name, content in made.items():
        assert content == committed[name], f"{name} differs from its .proto: run python schemas/generate.py"


def test_every_proto_file_has_its_modules(tmp_path: Path) -> None:
    """Each schema gives one module and one stub."""
    generate(tmp_path)
    names = {path.stem for path in SCHEMAS.glob("*.proto")}
    assert names >= {"envelope", "backlog"}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}_pb2{end}" for name in names for end in (".py", ".pyi")
    }


def test_the_committed_modules_are_the_imported_ones() -> None:
    """What the tests use is what is checked here."""
    assert pb.__file__ is not None
    assert Path(pb.__file__).parent == DEFAULT_OUTPUT
