# SPDX-License-Identifier: AGPL-3.0-or-later
"""Matching against an oracle that is written straight from the words of the promise, without any speed."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from dicom_router.rules.facts import TagFacts
from dicom_router.rules.keys import ATTRIBUTE_NAMES
from dicom_router.rules.match import Match, compile_match

NOW = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Europe/Berlin"))
Spec = dict[str, object]


def compiled(spec: object) -> Match:
    match, problems = compile_match(spec, "Match")
    assert not problems
    assert match is not None
    return match


# --- the oracle ------------------------------------------------------------------------------------------------------

POSITIVE: dict[str, Callable[[str, str], bool]] = {
    "Equals": lambda value, text: value == text,
    "Contains": lambda value, text: text in value,
    "StartsWith": lambda value, text: value.startswith(text),
    "EndsWith": lambda value, text: value.endswith(text),
    "Regex": lambda value, text: re.search(text, value) is not None,
    "Lt": lambda value, text: value < text,
    "Le": lambda value, text: value <= text,
    "Gt": lambda value, text: value > text,
    "Ge": lambda value, text: value >= text,
}
NEGATIVE = {"NotEquals": "Equals", "NotContains": "Contains", "NotIn": "In"}
Entities = Sequence[str | None]


def values_of(entities: Entities) -> list[str]:
    return [part.strip() for raw in entities if raw is not None for part in raw.split("\\") if part.strip()]


def holds(operator: str, operand: object, value: str, ignore_case: bool) -> bool:
    if isinstance(operand, list):
        return any(holds("Equals", each, value, ignore_case) for each in operand)
    text = str(operand)
    return POSITIVE[operator](value.lower(), text.lower()) if ignore_case else POSITIVE[operator](value, text)


def operator_holds(operator: str, operand: object, entities: Entities, spec: Spec) -> bool:
    values, every = values_of(entities), spec.get("Of") == "All"
    if operator == "Exists":
        having = [bool(values_of([raw])) for raw in entities]
        return (bool(having) and all(having) if every else any(having)) is operand
    if operator in NEGATIVE:
        return not operator_holds(NEGATIVE[operator], operand, entities, spec)
    results = [holds(operator, operand, value, spec.get("IgnoreCase") is True) for value in values]
    return bool(results) and all(results) if every else any(results)


def entry_holds(spec: object, entities: Entities) -> bool:
    if isinstance(spec, dict):
        operators = {name: operand for name, operand in spec.items() if name not in ("Of", "IgnoreCase")}
        return all(operator_holds(name, operand, entities, spec) for name, operand in operators.items())
    return operator_holds("Equals", spec, entities, {})


def match_holds(spec: Spec, tags: dict[str, Entities]) -> bool:
    groups: dict[str, Callable[[list[bool]], bool]] = {"Any": any, "All": all, "None": lambda below: not any(below)}
    for name, value in spec.items():
        if name in groups:
            assert isinstance(value, list)
            if not groups[name]([match_holds(each, tags) for each in value]):
                return False
        elif not entry_holds(value, tags.get(name, ())):
            return False
    return True


# --- what is drawn ---------------------------------------------------------------------------------------------------

KEYS = ("Modality", "SeriesDescription", "BodyPartExamined", "0029,1010")
WORDS = st.sampled_from(["a", "A", "b", "ab", "aB", "ba", "abc", "x y"])
PADDED = st.builds(
    lambda word, before, after: " " * before + word + " " * after, WORDS, st.integers(0, 1), st.integers(0, 2)
)
RAW = st.none() | st.just("") | st.just("  ") | PADDED | st.lists(PADDED, min_size=2, max_size=3).map("\\".join)
TAGS = st.dictionaries(st.sampled_from(KEYS), st.lists(RAW, max_size=5))


@st.composite
def operators(draw: st.DrawFn) -> Spec:
    scalar = draw(st.dictionaries(st.sampled_from([*POSITIVE, "NotEquals", "NotContains"]), WORDS, max_size=2))
    listed = draw(
        st.dictionaries(st.sampled_from(["In", "NotIn"]), st.lists(WORDS, min_size=1, max_size=3), max_size=1)
    )
    exists = draw(st.dictionaries(st.just("Exists"), st.booleans(), max_size=1))
    spec: Spec = {**scalar, **listed, **exists} or {"Exists": True}
    if draw(st.booleans()):
        spec["IgnoreCase"] = draw(st.booleans())
    if draw(st.booleans()):
        spec["Of"] = draw(st.sampled_from(["Any", "All"]))
    return spec


LEAVES = st.dictionaries(
    st.sampled_from(KEYS), WORDS | st.lists(WORDS, min_size=1, max_size=3) | operators(), max_size=3
)
SPECS = st.recursive(
    LEAVES,
    lambda below: st.builds(
        lambda leaf, groups: {**leaf, **groups},
        LEAVES,
        st.dictionaries(st.sampled_from(["Any", "All", "None"]), st.lists(below, min_size=1, max_size=3), max_size=2),
    ),
    max_leaves=6,
)


@given(SPECS, TAGS)
def test_every_match_agrees_with_the_oracle(spec: Spec, tags: dict[str, Entities]) -> None:
    assert match_holds(spec, tags) is compiled(spec).evaluate(TagFacts(tags), NOW).matched


@given(SPECS, TAGS)
def test_a_verdict_names_the_failing_entry_exactly_when_it_does_not_match(
    spec: Spec, tags: dict[str, Entities]
) -> None:
    verdict = compiled(spec).evaluate(TagFacts(tags), NOW)
    assert verdict.matched is (verdict.failed is None)
    assert verdict.failed is None or (verdict.failed is verdict.entries[-1] and not verdict.failed.matched)
    assert not verdict.matched or all(entry.matched for entry in verdict.entries)
    assert all(len(entry.seen) <= 10 for entry in verdict.entries)


@given(operators(), st.lists(RAW, max_size=5))
def test_a_negative_operator_is_the_negation_of_its_positive_one(spec: Spec, entities: list[str | None]) -> None:
    facts = TagFacts({"Modality": entities})
    for negative, positive in NEGATIVE.items():
        if negative in spec:
            modifiers = {name: spec[name] for name in ("Of", "IgnoreCase") if name in spec}
            verdicts = [
                compiled({"Modality": {name: spec[negative], **modifiers}}).evaluate(facts, NOW).matched
                for name in (negative, positive)
            ]
            assert sorted(verdicts) == [False, True]


# --- nothing in the data makes it raise ------------------------------------------------------------------------------

TYPED: tuple[Spec, ...] = (
    {"StudyDate": {"Between": ["20260101", "20261231"]}},
    {"StudyDate": {"NewerThan": "7d"}},
    {"StudyDate": "20261122"},
    {"StudyTime": {"Between": ["19:00", "07:00"]}},
    {"AcquisitionDateTime": {"OlderThan": "2h"}},
    {"AcquisitionDateTime": {"Ge": "2026"}},
    {"PatientAge": {"Lt": "018Y"}},
    {"PatientAgeYears": {"Lt": 18}},
    {"PatientName": {"Equals": "Doe^John", "IgnoreCase": True}},
    {"SeriesNumber": 5},
    {"SliceThickness": {"Le": 1.5}},
    {"RemoteIP": ["10.0.0.0/8", "fe80::/10"]},
    {"SOPClass": "Image"},
    {"StudyWeekday": ["Sat", "Sun"]},
    {"ReceivedWeekday": {"NotIn": ["Mon"]}},
    {"ReceivedTime": {"Between": ["19:00", "07:00"]}},
    {"StudyDescription": {"Wildcard": "*a?b*", "IgnoreCase": True}},
    {"StudyDescription": {"Regex": "(a|b)+$"}},
    {"StudyDescription": {"Lt": 5}},
    {"RequestAttributesSequence": {"Exists": True, "Of": "All"}},
)
ODD = (
    st.text()
    | st.text(alphabet="0123456789.+-eENaninfDWMYTZ:\\^=/ \0", max_size=30)
    | st.sampled_from(["00010101", "99991231", "00010101000000+1400", "99991231235959-1200", "235960", "00000000"])
    | st.sampled_from(
        ["0001-01-01T00:00:00+14:00", "99991231T235959", "٢٠٢٦١١٢٢", "²", "1e400", "9" * 5000, "::ffff:1.2.3.4"]
    )
)
ODD_TAGS = st.dictionaries(
    st.sampled_from([key.split(".")[0] for spec in TYPED for key in spec] + ["ReceptionDate", "PatientBirthDate"]),
    st.lists(st.none() | ODD, max_size=4),
)


@given(ODD_TAGS, st.sampled_from(["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Marquesas"]))
def test_no_value_makes_matching_raise(tags: dict[str, Entities], zone: str) -> None:
    now = NOW.astimezone(ZoneInfo(zone))
    for match in (compiled(spec) for spec in TYPED):
        match.evaluate(TagFacts(tags), now).to_json()


@given(ODD)
def test_no_reception_date_makes_matching_raise(text: str) -> None:
    for name in ("ReceivedTime", "ReceivedWeekday"):
        compiled({name: {"Exists": True}}).evaluate(TagFacts({"ReceptionDate": text}), NOW)


# --- nothing that is written makes compiling raise -------------------------------------------------------------------

NAMES = (
    st.sampled_from(sorted(ATTRIBUTE_NAMES))
    | st.sampled_from(
        ["Any", "All", "None", "Equals", "In", "Between", "Regex", "Exists", "NewerThan", "Of", "IgnoreCase"]
    )
    | st.sampled_from(["StudyDate", "StudyTime", "PatientAge", "PixelData", "Modality", "0029,1010", "Sample"])
    | st.text(max_size=4)
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5", "20261122", "7d"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON, max_size=3) | JSON)
def test_whatever_is_written_gives_a_match_or_problems_below_its_path(spec: object) -> None:
    match, problems = compile_match(spec, "Router.Rules[2].Match")
    assert (match is None) is bool(problems)
    assert all(problem.path.startswith("Router.Rules[2].Match") and problem.message for problem in problems)
    if match is not None:
        match.evaluate(TagFacts({}), NOW).to_json()


# --- wildcards -------------------------------------------------------------------------------------------------------


def wildcard_holds(pattern: str, value: str) -> bool:
    """By the definition, tried everywhere."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(wildcard_holds(pattern[1:], value[start:]) for start in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and wildcard_holds(pattern[1:], value[1:])


@given(st.text("ab*?", min_size=1, max_size=7), st.text("ab", min_size=1, max_size=8))
def test_a_wildcard_matches_as_it_is_defined(pattern: str, value: str) -> None:
    match = compiled({"StudyDescription": {"Wildcard": pattern}})
    facts = TagFacts({"StudyDescription": [value]})
    assert match.evaluate(facts, NOW).matched is wildcard_holds(pattern, value)


def test_no_value_makes_a_wildcard_take_long() -> None:
    """With each star it took some ten times as long: this pattern would take years."""
    match = compiled({"ImageComments": {"Wildcard": "*a" * 30 + "*b"}})
    assert not match.evaluate(TagFacts({"ImageComments": ["a" * 10_000]}), NOW).matched
