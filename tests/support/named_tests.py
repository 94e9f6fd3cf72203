"""Documents that name tests: are those tests still there?"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

TESTS = Path(__file__).parents[1]
_REFERENCE = re.compile(r"`([a-z_0-9/]+\.py)(?:::(\w+))?`")

Reference = tuple[str, str]
"""A file below tests/, and the name of a test in it or "" for the whole file."""


def references(text: str) -> list[Reference]:
    """Every `file.py` or `file.py::test` in back quotes."""
    return _REFERENCE.findall(text)


def missing(named: Iterable[Reference]) -> list[Reference]:
    """Those that no longer exist; a file without any test counts as missing."""
    return [reference for reference in named if not _exists(*reference)]


def _exists(file: str, name: str) -> bool:
    path = TESTS / file
    if not path.is_file():
        return False
    functions = {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return name in functions if name else any(function.startswith("test_") for function in functions)
