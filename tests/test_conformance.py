"""The conformance table names tests that exist, and all twenty points are in it."""

import re

from tests.support.named_tests import TESTS, Reference, missing, references

ROW = re.compile(r"^\| (\d+) \|")


def rows() -> dict[int, list[Reference]]:
    """Point -> (file, test or "")."""
    table = {}
    for line in (TESTS / "CONFORMANCE.md").read_text().splitlines():
        if match := ROW.match(line):
            table[int(match[1])] = references(line)
    return table


def test_every_point_names_tests() -> None:
    """Points 1 to 20, each with at least one test."""
    assert set(rows()) == set(range(1, 21))
    assert all(rows().values())


def test_the_named_tests_exist() -> None:
    """A test that is renamed or deleted is noticed here."""
    assert {point: missing(named) for point, named in rows().items() if missing(named)} == {}
