# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known about one resource, as matching asks for it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from dicom_router.rules.keys import Key, parse_key


class Facts(Protocol):
    """What is known about one resource; a key has a set of values over its series and instances."""

    def values(self, key: Key) -> tuple[str | None, ...]:
        r"""One element for each entity looked at, None where the tag is missing in it.

        A study-level key has one element, a series-level key one a series, an instance-level key one an instance (or
        one for the instance that represents its series). A multi-valued element is one string with backslashes
        (PS3.5 6.4). Empty or only padding means the same as missing: it does not exist and no positive operator holds.
        For a sequence, any text that is not empty says that it has an item. Only `Match.keys` are ever asked for.
        """
        ...


class TagFacts:
    """Facts from a plain mapping: for tests of rules, the preview of `{"Tags": {...}}` and the command line.

    A key is what `parse_key` takes, derived attributes included (`{"PatientAgeYears": 45}`); a value is a text, a
    number, None, or a list with one of these for each entity. A sequence is a list of mappings; its elements are then
    found by their path, as if they were written `{"RequestAttributesSequence.ScheduledProcedureStepID": "1"}`.
    ValueError with a sentence for a key that names nothing.
    """

    def __init__(self, tags: Mapping[str, object]) -> None:
        self._values: dict[Key, tuple[str | None, ...]] = {}
        for name, value in _flatten(tags):
            key = parse_key(name)
            self._values[key] = self._values.get(key, ()) + _texts(value)

    def values(self, key: Key) -> tuple[str | None, ...]:
        """The values given for the key; nothing when it was not given."""
        return self._values.get(key, ())

    def keys(self) -> frozenset[Key]:
        """The keys that were given."""
        return frozenset(self._values)


def _flatten(tags: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tags.items():
        items = _items(value)
        if items:
            yield prefix + name, f"{len(items)} items"
            for item in items:
                yield from _flatten(item, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _items(value: object) -> list[Mapping[str, object]]:
    if isinstance(value, Mapping):
        return [value]
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _texts(value: object) -> tuple[str | None, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(None if each is None else str(each) for each in value)
    return (None if value is None else str(value),)
