"""The conformance table names tests that exist, and all twenty points are in it."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| (\d+) \|")
REFERENCE = re.compile(r"`([a-z_/]+\.py)(?:::(\w+))?`")


def rows() -> dict[int, list[tuple[str, str]]]:
    """Point -> (file, test or "")."""
    table = {}
    for line in (TESTS / "CONFORMANCE.md").read_text().splitlines():
        if match := ROW.match(line):
            table[int(match[1])] = REFERENCE.findall(line)
    return table


def test_every_point_names_tests() -> None:
    """Points 1 to 20, each with at least one test."""
    assert set(rows()) == set(range(1, 21))
    assert all(rows().values())


def test_the_named_tests_exist() -> None:
    """A test that is renamed or deleted is noticed here."""
    for point, references in rows().items():
        for file, name in references:
            module = ast.parse((TESTS / file).read_text())
            functions = {
                node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert any(function.startswith("test_") for function in functions), f"point {point}: {file} has no tests"
            assert not name or name in functions, f"point {point}: {file} has no {name}"
