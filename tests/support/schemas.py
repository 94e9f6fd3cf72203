"""The JSON Schemas of this repository, ready to check documents against: integers must be integers, not `7.0`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FOLDER = Path(__file__).parents[2] / "schemas"
SCHEMAS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.schema.json"))
}

# JSON Schema counts 7.0 as an integer; the programs that speak this JSON do not (spec rmb 5.2).
_STRICT = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
_FILES: Registry[Any] = Registry().with_resources(
    (f"{name}.schema.json", Resource.from_contents(schema, default_specification=DRAFT202012))
    for name, schema in SCHEMAS.items()
)


@cache
def validator(name: str) -> Validator:
    """The strict validator of one schema, by file name without `.schema.json`."""
    make: Any = extend  # the package annotates its classes, not this function
    strict: Validator = make(Draft202012Validator, type_checker=_STRICT)(SCHEMAS[name], registry=_FILES)
    return strict


def faults(name: str, document: Any) -> list[str]:
    """What is wrong with a document, each with its place; empty if it follows the schema."""
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)]
