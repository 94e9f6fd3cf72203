"""Each promise of the README's guarantees names tests that try to break it, and those tests exist."""

from tests.support.named_tests import TESTS, Reference, missing, references


def promises() -> dict[str, list[Reference]]:
    """Promise -> tests."""
    section = (TESTS.parent / "README.md").read_text().split("\n## What is guaranteed\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ") and "::" in line]
    return {row[1].strip(): references(row[2]) for row in rows}


def test_every_promise_names_tests() -> None:
    """No promise without somebody who tries to break it."""
    assert len(promises()) >= 10
    assert all(promises().values())


def test_the_named_tests_exist() -> None:
    """A test that is renamed or deleted is noticed here."""
    assert {promise: missing(named) for promise, named in promises().items() if missing(named)} == {}
