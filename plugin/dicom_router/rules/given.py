# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Tests` of a rule: given these tags, the rule shall match, or not. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from dicom_router.problems import Problem, nearest
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.keys import parse_key
from dicom_router.rules.match import Match
from dicom_router.rules.wording import failure

_KEYS = ("Given", "Expect")


def run_tests(match: Match, tests: Sequence[object], path: str, now: datetime) -> list[Problem]:
    """A problem for each test that fails or cannot be read; `now` is aware, in the router's time zone."""
    return [problem for index, test in enumerate(tests) for problem in _run(match, test, f"{path}[{index}]", now)]


def _run(match: Match, test: object, path: str, now: datetime) -> Iterator[Problem]:
    if not isinstance(test, Mapping):
        yield Problem(path, 'A test is an object like { "Given": { "Modality": "CT" }, "Expect": true }.')
        return
    unread = [*_unread(test, path)]
    yield from unread
    if unread:
        return
    verdict = match.evaluate(TagFacts(test["Given"]), now)
    if verdict.matched is test["Expect"]:
        return
    if verdict.failed is None:
        yield Problem(path, "This test fails: the rule matches, and it is expected not to.")
    else:
        why = failure(verdict.failed.to_json())
        yield Problem(path, f"This test fails: the rule is expected to match, but does not, because {why}.")


def _unread(test: Mapping[object, object], path: str) -> Iterator[Problem]:
    for name in test:
        if name not in _KEYS:
            yield Problem(
                f"{path}.{name}", f'Unknown key "{name}".{nearest(str(name), _KEYS)} Legal are: Given, Expect.'
            )
    if not isinstance(test.get("Expect"), bool):
        yield Problem(f"{path}.Expect", "true or false is expected.")
    yield from unread_tags(test.get("Given"), f"{path}.Given")


def unread_tags(tags: object, path: str) -> Iterator[Problem]:
    """What is wrong with tags that someone gives in the place of a study's."""
    if not isinstance(tags, Mapping):
        yield Problem(path, 'Tags and their values are expected, like { "Modality": "CT" }.')
        return
    for name, value in tags.items():
        try:
            parse_key(str(name))
            TagFacts({str(name): value})
        except ValueError as error:
            yield Problem(f"{path}.{name}", str(error))
