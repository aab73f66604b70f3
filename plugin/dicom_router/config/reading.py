# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading what a user wrote: all problems are collected, each with its path."""

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from dicom_router.config.settings import Neighbours
from dicom_router.deliveries.retry import RetryPolicy
from dicom_router.destination import Destination
from dicom_router.problems import Problem, nearest, shown

NOT_YET = "is not supported yet by this version of dicom-router"
# pydantic's types of errors, and what should have stood there.
_KINDS: Final = {
    "model_type": "an object",
    "dict_type": "an object",
    "list_type": "a list",
    "too_short": "a list with an entry",
    "string_type": "a text",
    "string_unicode": "a text of whole characters",
    "string_too_short": "a text that is not empty",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
}
Shape = TypeVar("Shape", bound=BaseModel)


class Reader:
    """Collects the problems on its way."""

    def __init__(self, known: Neighbours) -> None:
        self.known = known
        self.problems: list[Problem] = []
        self.destinations: dict[str, Destination] = {}
        self.retry = RetryPolicy()
        self.testing = True  # the Tests of rules are run
        # A saved rule keeps its destinations: what it sends to one that is gone waits until that is there again.
        self.keeping = False
        self.absences: list[Problem] = []
        self.zone: tzinfo = UTC  # what the tests of rules call now is told in it

    def tell(self, path: str, message: str) -> None:
        """One more problem."""
        self.problems.append(Problem(path, message))

    def not_yet(self, path: str, what: str) -> None:
        """Something of the contract that is not built."""
        self.tell(path, f"{what} {NOT_YET}.")

    def model(
        self,
        kind: type[Shape],
        value: object,
        path: str,
        *,
        secret: bool = False,
        instead: Mapping[str, object] | None = None,
    ) -> Shape | None:
        """The value in its shape; None when it has none at all.

        What is wrong in it is told, with `secret` without the value, and left out, so that the rest is looked at too;
        `instead` has values for what is required.
        """
        try:
            return kind.model_validate(value)
        except ValidationError as wrong:
            errors = wrong.errors(include_url=False)
        for error in errors:
            self.tell(path_of(path, error["loc"]), sentence(error, kind, secret=secret))
        refused = {error["loc"][0] for error in errors if error["loc"]}
        rest = {key: each for key, each in mapping(value).items() if key not in refused}
        try:
            return kind.model_validate({**(instead or {}), **rest}) if isinstance(value, dict) else None
        except ValidationError:
            return None


def mapping(value: object) -> dict[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def path_of(base: str, location: tuple[int | str, ...]) -> str:
    """pydantic's place as a user looks for it: `Rules[2].Match`."""
    return base + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def sentence(error: Mapping[str, Any], kind: type[BaseModel], *, secret: bool = False) -> str:
    """pydantic's error in the words of the contract."""
    if error["type"] == "extra_forbidden":
        *steps, unknown = map(str, error["loc"])
        legal = [str(each.alias) for each in _inner(kind, steps).model_fields.values()]
        return f'Unknown key "{unknown}".{nearest(unknown, legal) or " Legal are: " + ", ".join(legal) + "."}'
    if error["type"] == "missing":
        return "is required."
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    wanted = _wanted(error)
    if wanted is None:
        return f"{error['msg']}."
    return f"must be {wanted}." if secret else f"must be {wanted}, not {shown(error['input'])}."


def _wanted(error: Mapping[str, Any]) -> str | None:
    """What should stand there, in the words of JSON; pydantic's are those of Python."""
    limits = error.get("ctx", {})
    if error["type"] == "literal_error":
        return f"one of {limits['expected']}".replace("'", '"')
    if error["type"] == "greater_than_equal":
        return f"at least {limits['ge']:g}"
    if error["type"] == "less_than_equal":
        return f"at most {limits['le']:g}"
    return _KINDS.get(error["type"])


def depth(value: object) -> int:
    """How deep lists and objects are nested in each other; 0 for what is neither."""
    found, level = 0, [value]
    while nested := [each for each in level if isinstance(each, Mapping | list)]:
        level = [inner for each in nested for inner in (each.values() if isinstance(each, Mapping) else each)]
        found += 1
    return found


def _inner(kind: type[BaseModel], steps: Sequence[str]) -> type[BaseModel]:
    """The model that stands at a place within another one."""
    for step in steps:
        for field in kind.model_fields.values():
            models = [each for each in (field.annotation, *get_args(field.annotation)) if _is_model(each)]
            if field.alias == step and models:
                kind = models[0]
    return kind


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
