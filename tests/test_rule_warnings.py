# SPDX-License-Identifier: AGPL-3.0-or-later
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_router.config import Neighbours, RuleParser, effective
from dicom_router.destination import Destination, Kind
from dicom_router.rules.decision import decide
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.rule import Process, Rule
from dicom_router.rules.schedule import parse_schedule
from dicom_router.rules.warnings.checks import Surroundings, rule_warnings

NOW = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Europe/Berlin"))
KNOWN = Neighbours({"ARCHIVE": "ARCH", "NIGHT": "NIGHT"})
NIGHT_SCHEDULE, _ = parse_schedule("19:00-07:00", "")
assert NIGHT_SCHEDULE is not None
DESTINATIONS = {
    "ARCHIVE": Destination("ARCHIVE", "ARCHIVE", "ARCH"),
    "NIGHT": Destination("NIGHT", "NIGHT", "NIGHT", schedule=NIGHT_SCHEDULE),
    "P": Destination("P", "research", kind=Kind.PEER),
    "W": Destination("W", "cloud", kind=Kind.DICOM_WEB),
}


def rules_of(*bodies: Mapping[str, Any]) -> list[Rule]:
    parser = RuleParser(KNOWN, DESTINATIONS)
    defaults = {"Send": ["ARCHIVE"]}
    rules = [parser.rule({"Name": f"rule {index}", **defaults, **body}, "") for index, body in enumerate(bodies)]
    assert parser.problems == []
    return [rule for rule in rules if rule is not None]


def warned(*bodies: Mapping[str, Any], known: Mapping[Kind, frozenset[str]] | None = None) -> list[str]:
    """The warnings of the last rule."""
    rules = rules_of(*bodies)
    told = rule_warnings(rules, Surroundings(DESTINATIONS, effective, NOW, known or {}))
    return [f"{each.path}: {each.message}" for each in told[rules[-1].name]]


CONTRADICTIONS: list[dict[str, Any]] = [
    {"Modality": {"Equals": "CT", "NotEquals": "CT"}},
    {"Modality": {"In": ["CT", "MR"], "NotIn": ["MR", "CT", "US"]}},
    {"Modality": {"Exists": False, "Equals": "CT"}},
    {"Modality": {"Equals": "CT", "Of": "All"}, "All": [{"Modality": "MR"}]},
    {"Modality": "CT", "None": [{"Modality": ["CT", "MR"]}]},
    {"Any": [{"Modality": {"Equals": "CT", "NotEquals": "CT"}}, {"Modality": {"Exists": False, "In": ["MR"]}}]},
    {"StudyDate": {"Gt": "20260101", "Lt": "20250101"}},
    {"StudyDate": {"Between": ["20260101", "20250101"]}},
    {"StudyDate": {"NewerThan": "1h", "OlderThan": "2h"}},
    {"PatientSex": "M", "All": [{"PatientSex": "F"}]},
    {"InstancesCount": {"Gt": 5, "Lt": 5}},
    {"SeriesNumber": {"Ge": 5, "Of": "All"}, "All": [{"SeriesNumber": {"Lt": 5}}]},
    {"RemoteIP": {"Equals": "10.1.0.0/16", "NotEquals": "10.0.0.0/8"}},
    {"SeriesDescription": {"StartsWith": "HEAD AX", "NotContains": "HEAD"}},
    {"SeriesDescription": {"Contains": "Head", "NotContains": "head", "IgnoreCase": True}},
    {"SOPClass": {"Equals": "CTImage", "NotEquals": "Image"}},
    {"StudyWeekday": ["Sat", "Sun"], "All": [{"StudyWeekday": "Monday"}]},
    {"Modality": {"In": ["CT", "MR"], "Of": "All"}, "None": [{"Modality": "CT"}, {"Modality": "MR"}]},
    {"AccessionNumber": {"StartsWith": "A"}, "All": [{"AccessionNumber": {"StartsWith": "B"}}]},
    {"AccessionNumber": "X1", "All": [{"AccessionNumber": {"Regex": "^Y"}}]},
    {"PatientAgeYears": {"Lt": 18, "Gt": 65}},
    {"PatientAgeYears": {"Lt": 18, "Ge": 18}},
    {"None": [{}]},
    {"None": [{"All": []}], "Modality": "CT"},
    {"InstancesCount": {"Lt": 0}},
    {"SeriesCount": {"Between": [-5, -1]}},
    {"PatientAgeYears": {"Le": -1}},
]

NO_CONTRADICTIONS: list[dict[str, Any]] = [
    {},
    {"All": [{"Modality": "CT"}, {"Modality": "MR"}]},  # a study with both
    {"Modality": "CT", "All": [{"Modality": {"NotEquals": "MR"}}]},
    {"Modality": {"In": ["CT", "MR"], "NotEquals": "CT"}},
    {"SeriesNumber": {"Gt": 5, "Lt": 3}},  # two series
    {"StudyDate": {"Between": ["20260101", "20260101"]}},
    {"StudyTime": {"Between": ["19:00", "07:00"]}},  # wraps midnight
    {"ReceivedTime": {"Ge": "19:00"}, "All": [{"ReceivedTime": {"Lt": "07:00"}}]},
    {"StudyDescription": {"Regex": "^A", "NotContains": "B"}},
    {"StudyDescription": {"Equals": "head", "IgnoreCase": True}, "All": [{"StudyDescription": {"Equals": "HEAD"}}]},
    {"PatientName": {"Equals": "DOE^JOHN"}, "All": [{"PatientName": {"Equals": "DOE^JOHN^^"}}]},
    {"Any": [{"Modality": {"Equals": "CT", "NotEquals": "CT"}}, {"Modality": "MR"}]},
    {"RemoteIP": {"Equals": "10.0.0.0/8", "NotEquals": "10.1.0.0/16"}},
    {"PatientAgeYears": {"Ge": 18, "Le": 18}},
    {"InstancesCount": {"Ge": 0}},
    {"InstancesCount": {"NotEquals": -1}},
    {"InstancesCount": {"Between": [-1, 1]}},
    {"None": [{"None": [{}]}]},
    {"All": [{}]},
]


@pytest.mark.parametrize("match", CONTRADICTIONS, ids=json.dumps)
def test_a_match_that_can_never_hold_is_warned_of(match: dict[str, Any]) -> None:
    assert any("never matches" in each for each in warned({"Match": match}))


@pytest.mark.parametrize("match", NO_CONTRADICTIONS, ids=json.dumps)
def test_a_match_that_can_hold_is_not_called_a_contradiction(match: dict[str, Any]) -> None:
    assert not any("never matches" in each for each in warned({"Match": match}))


CT_CLASS, MR_CLASS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ONE_INSTANCE: list[dict[str, Any]] = [
    {"SOPClassUID": CT_CLASS, "All": [{"SOPClassUID": MR_CLASS}]},
    {"All": [{"Any": [{"SOPClassUID": CT_CLASS}]}, {"Any": [{"SOPClassUID": MR_CLASS}]}]},
    {"Modality": "CT", "All": [{"0008,0060": "MR"}]},
    {"Rows": {"Gt": 512, "Lt": 512}},
    {"RemoteAET": "CT1", "All": [{"RemoteAET": "CT2"}]},
]
SEVERAL_VALUES: list[dict[str, Any]] = [
    {"ImageType": "ORIGINAL", "All": [{"ImageType": "PRIMARY"}]},
    {"0029,1010": "A", "All": [{"0029,1010": "B"}]},
    {
        "RequestAttributesSequence.ScheduledProcedureStepID": "1",
        "All": [{"RequestAttributesSequence.ScheduledProcedureStepID": "2"}],
    },
]


@pytest.mark.parametrize("match", ONE_INSTANCE, ids=json.dumps)
def test_one_instance_has_one_value_and_several_instances_have_several(match: dict[str, Any]) -> None:
    never = "This rule never matches"
    assert any(never in each for each in warned({"Match": match, "Trigger": "NewInstance"}))
    assert not any(never in each for each in warned({"Match": match}))


@pytest.mark.parametrize("match", SEVERAL_VALUES, ids=json.dumps)
def test_a_tag_that_has_several_values_in_one_instance_is_no_contradiction(match: dict[str, Any]) -> None:
    assert warned({"Match": match, "Trigger": "NewInstance"}) == []
    assert warned({"Instances": match, "Sample": "Every"}) == []


@pytest.mark.parametrize("match", [*ONE_INSTANCE, {"InstancesCount": {"Lt": 0}}, {"None": [{}]}], ids=json.dumps)
def test_instances_that_contradict_themselves_are_warned_of(match: dict[str, Any]) -> None:
    (told,) = warned({"Instances": match, "Sample": "Every"})
    assert told.startswith("Instances: This never chooses an instance: ")
    (told,) = warned({"Send": [{"To": "ARCHIVE", "Instances": match}], "Sample": "Every"})
    assert told.startswith("Send[0].Instances: This never chooses an instance: ")


def test_a_none_that_rules_everything_out_is_named() -> None:
    (told,) = warned({"Match": {"None": [{}]}})
    assert told == "Match: This rule never matches: a None in it rules everything out."


def test_a_contradiction_names_the_two_conditions() -> None:
    (told,) = warned({"Match": {"StudyDate": {"Gt": "20260101", "Lt": "20250101"}}})
    assert told == "Match: This rule never matches: StudyDate.Gt and StudyDate.Lt contradict each other."


SHADOWED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"Modality": "CT"}),
    ({"Modality": ["CT", "MR"]}, {"Modality": "CT", "StudyDescription": {"Contains": "HEAD"}}),
    ({"StudyDescription": {"Contains": "HEAD"}}, {"StudyDescription": {"StartsWith": "HEAD AX"}}),
    ({"StudyDescription": {"Contains": "head", "IgnoreCase": True}}, {"StudyDescription": "CT HEAD"}),
    ({"RemoteIP": "10.0.0.0/8"}, {"RemoteIP": "10.1.2.3"}),
    ({"InstancesCount": {"Gt": 10}}, {"InstancesCount": {"Between": [20, 30]}}),
    ({"Any": [{"Modality": "CT"}, {"Modality": "MR"}]}, {"Modality": ["CT", "MR"]}),
    ({"Modality": {"Exists": True}}, {"Modality": "CT"}),
    ({"Modality": {"NotEquals": "CT"}}, {"Modality": {"NotIn": ["CT", "MR"]}}),
    ({"SOPClass": "Image"}, {"SOPClass": "CTImage"}),
    ({"StudyDate": {"NewerThan": "2d"}}, {"StudyDate": {"NewerThan": "1d"}}),
    ({"StudyDescription": {"Regex": "^A.*B$"}}, {"StudyDescription": {"Regex": "^A.*B$"}, "Modality": "CT"}),
]
NOT_SHADOWED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"Modality": "CT"}, {}),
    ({"Modality": "CT"}, {"Modality": ["CT", "MR"]}),
    ({"Modality": {"Equals": "CT", "Of": "All"}}, {"Modality": "CT"}),
    ({"InstancesCount": {"Gt": 10}}, {"InstancesCount": {"Ge": 10}}),
    ({"StudyDescription": {"Contains": "HEAD"}}, {"StudyDescription": {"Contains": "HEAD", "IgnoreCase": True}}),
    ({"RemoteIP": "10.1.0.0/16"}, {"RemoteIP": "10.0.0.0/8"}),
    ({"Modality": {"NotIn": ["CT", "MR"]}}, {"Modality": {"NotEquals": "CT"}}),
]


@pytest.mark.parametrize(("earlier", "later"), SHADOWED, ids=json.dumps)
def test_a_rule_behind_a_stop_that_takes_all_it_matches_is_warned_of(
    earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    told = warned({"Match": earlier, "Stop": True}, {"Match": later, "Send": ["NIGHT"]})
    assert any('never looked at: whatever it matches, "rule 0"' in each for each in told)


@pytest.mark.parametrize(("earlier", "later"), NOT_SHADOWED, ids=json.dumps)
def test_a_rule_that_an_earlier_stop_leaves_something_is_not_called_shadowed(
    earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    assert warned({"Match": earlier, "Stop": True}, {"Match": later, "Send": ["NIGHT"]}) == []


ANY_SAMPLE: list[dict[str, Any]] = [{}, {"Modality": "CT"}, {"RemoteAET": "CT1", "InstancesCount": {"Gt": 1}}]


@pytest.mark.parametrize("match", ANY_SAMPLE, ids=json.dumps)
@pytest.mark.parametrize("sampled", [{}, {"Sample": "Every"}], ids=json.dumps)
def test_a_stop_that_asks_the_index_alone_shadows_whatever_is_sampled(
    match: dict[str, Any], sampled: dict[str, Any]
) -> None:
    other = {} if sampled else {"Sample": "Every"}
    told = warned({"Match": match, "Stop": True, **sampled}, {"Match": match, "Send": ["NIGHT"], **other})
    assert any("never looked at" in each for each in told)


def test_a_stop_that_reads_other_instances_than_a_later_rule_does_not_shadow_it() -> None:
    match = {"Match": {"ImageType": "ORIGINAL"}}
    assert warned({**match, "Stop": True}, {**match, "Send": ["NIGHT"], "Sample": "Every"}) == []
    assert warned({**match, "Stop": True, "Sample": "Every"}, {**match, "Send": ["NIGHT"]}) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ["Send: This rule does nothing: it names no destination, and has neither Process nor Stop."]),
        ({"stop": True}, []),
        ({"process": Process(("/opt/seg/run",), 60.0, ())}, []),
        ({"enabled": False}, []),
    ],
    ids=str,
)
def test_a_rule_that_sends_nothing_and_stops_nothing_is_warned_of(changed: dict[str, Any], expected: list[str]) -> None:
    (rule,) = rules_of({"Match": {"Modality": "CT"}})
    rule = replace(rule, sends=(), source={"Name": rule.name, "Match": {"Modality": "CT"}}, **changed)
    told = rule_warnings([rule], Surroundings(DESTINATIONS, effective, NOW))
    assert [f"{each.path}: {each.message}" for each in told[rule.name]] == expected


def test_two_stops_together_can_shadow_a_rule() -> None:
    stops = [{"Match": {"Modality": each}, "Stop": True} for each in ("CT", "MR")]
    told = warned(*stops, {"Match": {"Modality": ["CT", "MR"]}, "Send": ["NIGHT"]})
    assert told == [
        'Match: This rule is never looked at: whatever it matches, "rule 0", "rule 1" before it takes, and says Stop.'
    ]


def test_a_rule_that_is_switched_off_shadows_nothing_and_is_not_warned_of() -> None:
    assert warned({"Stop": True, "Enabled": False}, {"Match": {"Modality": "CT"}}) == []
    assert warned({"Match": {"Modality": {"Exists": False, "Equals": "CT"}}, "Enabled": False}) == []


def test_a_rule_that_says_the_same_as_another_is_warned_of() -> None:
    told = warned({"Match": {"Modality": "CT"}}, {"Match": {"Modality": "CT"}, "Description": "again"})
    assert told == [': This rule does the same as "rule 0".']


PLAIN: dict[str, Any] = {"Match": {"Modality": "CT"}}
BOTH: dict[str, Any] = {**PLAIN, "Send": ["ARCHIVE", "NIGHT"]}
FROM_ONE: dict[str, Any] = {**PLAIN, "Instances": {"InstanceNumber": [1, 2]}}
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (PLAIN, {**PLAIN, "Stop": False, "Enabled": True, "Trigger": "StableStudy", "Level": "Study", "Delay": "0s"}),
    (PLAIN, {**PLAIN, "Schedule": "", "Instances": {}, "Modify": {}, "Process": {}, "Reroute": False, "Tests": []}),
    (PLAIN, {"Match": {"Modality": ["CT"]}}),
    (PLAIN, {"Match": {"Modality": {"Equals": "CT"}}}),
    (PLAIN, {"Match": {"0008,0060": "CT "}}),
    (PLAIN, {"Match": {"All": [{"Modality": "CT"}]}}),
    (PLAIN, {**PLAIN, "Send": [{"To": "ARCHIVE"}]}),
    (BOTH, {**PLAIN, "Send": ["NIGHT", "ARCHIVE"]}),
    ({"Match": {"Modality": ["CT", "MR"]}}, {"Match": {"Modality": ["MR", "CT"]}}),
    ({"Match": {"SeriesNumber": [1, 2]}}, {"Match": {"SeriesNumber": {"In": [2, 1]}}}),
    ({"Match": {"SeriesNumber": 1}}, {"Match": {"SeriesNumber": {"In": [1]}}}),
    (
        {"Match": {"Modality": "CT", "StudyDescription": {"Contains": "HEAD"}}},
        {"Match": {"StudyDescription": {"Contains": "HEAD"}, "Modality": "CT"}},
    ),
    (FROM_ONE, {**PLAIN, "Instances": {"0020,0013": [2, 1]}}),
    ({**PLAIN, "Schedule": "08:00-18:00"}, {**PLAIN, "Schedule": "8:00 - 18:00"}),
    (
        {**PLAIN, "Send": [{"FirstOf": ["ARCHIVE", "NIGHT"]}]},
        {**PLAIN, "Send": [{"FirstOf": ["ARCHIVE", "NIGHT"], "After": "10m", "AndWhenBack": False}]},
    ),
]
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (PLAIN, {"Match": {"Modality": "MR"}}),
    (PLAIN, {"Match": {"Modality": {"Equals": "CT", "Of": "All"}}}),
    (PLAIN, {"Match": {"Modality": {"Equals": "CT", "IgnoreCase": True}}}),
    (PLAIN, {"Match": {"Modality": {"NotEquals": "CT"}}}),
    (PLAIN, {**PLAIN, "Stop": True}),
    (PLAIN, {**PLAIN, "Sample": "Every"}),
    (PLAIN, {**PLAIN, "Level": "Series"}),
    (PLAIN, {**PLAIN, "Priority": "Normal"}),  # a destination's own may be another
    (PLAIN, {**PLAIN, "Modify": {"Replace": {"StationName": "X"}}}),
    (PLAIN, {**PLAIN, "Send": [{"To": "ARCHIVE", "Instances": {"InstanceNumber": 1}}]}),
    (PLAIN, {**PLAIN, "Send": [{"To": "ARCHIVE", "Verify": "Committed"}]}),
    (FROM_ONE, {**PLAIN, "Instances": {"InstanceNumber": [1, 3]}}),
    ({"Match": {"SeriesNumber": 1}}, {"Match": {"SeriesNumber": [1, 2]}}),
    ({"Match": {"SeriesNumber": {"Between": [1, 2]}}}, {"Match": {"SeriesNumber": {"Between": [2, 1]}}}),
    (
        {**PLAIN, "Send": [{"FirstOf": ["ARCHIVE", "NIGHT"]}]},
        {**PLAIN, "Send": [{"FirstOf": ["NIGHT", "ARCHIVE"]}]},
    ),
    (
        {**PLAIN, "Send": [{"To": "ARCHIVE", "Timeout": "1m"}, {"To": "ARCHIVE", "Timeout": "2m"}]},
        {**PLAIN, "Send": [{"To": "ARCHIVE", "Timeout": "2m"}, {"To": "ARCHIVE", "Timeout": "1m"}]},
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=json.dumps)
def test_a_rule_that_says_the_same_in_other_words_is_warned_of(one: dict[str, Any], other: dict[str, Any]) -> None:
    for first, second in ((one, other), (other, one)):
        assert ': This rule does the same as "rule 0".' in warned(first, second)


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=json.dumps)
def test_a_rule_that_does_something_else_is_not_called_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not any("does the same as" in each for each in warned(one, other))


def test_a_rule_that_sends_back_to_the_sender_is_warned_of() -> None:
    expected = ["Send[0]: What came from ARCHIVE (AE title ARCH) is not sent back there."]
    assert warned({"Match": {"RemoteAET": "ARCH"}}) == expected
    assert warned({"Match": {"RemoteAET": ["CT1", "ARCH"]}}) == expected
    assert warned({"Match": {"RemoteAET": {"NotEquals": "ARCH"}}}) == []
    assert warned({"Match": {"RemoteAET": "ARCHIVE"}}) == []


def test_results_for_the_sender_of_what_they_were_made_from_are_not_warned_of() -> None:
    body = {"Match": {"RemoteAET": "ARCH"}, "Process": {"Command": ["/opt/seg/run", "{dir}"]}}
    assert warned(body) == []
    assert warned({**body, "Send": [{"To": "ARCHIVE", "From": "Input"}]}) != []


@pytest.mark.parametrize("choice", ["FirstOf", "OneOf"])
def test_a_choice_that_may_send_back_to_the_sender_is_warned_of(choice: str) -> None:
    send = {"Send": [{choice: ["ARCHIVE", "NIGHT"]}]}
    assert warned({"Match": {"RemoteAET": "NIGHT"}, **send}) == [
        "Send[0]: What came from NIGHT (AE title NIGHT) is not sent back there."
    ]
    assert warned({"Match": {"RemoteAET": "CT1"}, **send}) == []


def test_a_destination_that_orthanc_does_not_know_now_is_warned_of() -> None:
    expected = ['Send[0]: Orthanc does not know the modality "ARCHIVE" of ARCHIVE now.']
    assert warned({}, known={Kind.MODALITY: frozenset({"NIGHT"})}) == expected
    assert warned({}, known={Kind.MODALITY: frozenset({"ARCHIVE"})}) == []
    assert warned({}, known={Kind.PEER: frozenset()}) == []


def test_a_peer_and_a_dicom_web_server_that_orthanc_does_not_know_now_are_warned_of() -> None:
    send = {"Send": ["P", "W"]}
    peer = 'Send[0]: Orthanc does not know the peer "research" of P now.'
    web = 'Send[1]: Orthanc does not know the DICOMweb server "cloud" of W now.'
    assert warned(send, known={Kind.PEER: frozenset(), Kind.DICOM_WEB: frozenset({"other"})}) == [peer, web]
    assert warned(send, known={Kind.DICOM_WEB: frozenset()}) == [web + " Is its DICOMweb plugin loaded?"]
    assert warned(send, known={Kind.PEER: frozenset({"research"}), Kind.DICOM_WEB: frozenset({"cloud"})}) == []


def test_schedules_that_never_meet_are_warned_of() -> None:
    day = {"Send": ["NIGHT"], "Schedule": "08:00-18:00"}
    assert warned(day) == ["Send[0]: The schedules of the rule and of NIGHT are never open at the same time."]
    assert warned(day | {"Priority": "Urgent"}) == []  # Urgent ignores schedules
    assert warned(day | {"Schedule": "06:00-08:00"}) == []


LEAP_DAY = {"Cron": "0 0 29 2 *", "For": "1h"}


@pytest.mark.parametrize(
    ("rule", "destination"),
    [
        (LEAP_DAY, "00:00-12:00"),
        ({"Cron": "0 0 1 1 *", "For": "1h"}, "Sun 00:00-12:00"),
        ("Sun 00:00-12:00", {"Cron": "@yearly", "For": "1h"}),
        ({"Cron": "0 0 * * 5#5", "For": "1h"}, {"Cron": "0 0 29 2 *", "For": "1h"}),
        # So many windows before the weekend that the search does not come to its end.
        ({"Cron": "1-59/2 * * * *", "For": "1m"}, "Mon-Thu m2 < 1, Fri 00:00-24:00"),
    ],
    ids=json.dumps,
)
def test_schedules_that_meet_some_day_are_not_said_never_to(rule: object, destination: object) -> None:
    assert warned({"Send": [{"To": "ARCHIVE", "Schedule": destination}], "Schedule": rule}) == []


@pytest.mark.parametrize(
    ("rule", "destination"),
    [
        (LEAP_DAY, "08:00-12:00"),
        ({"Cron": "0 3 1 * *", "For": "2h"}, "08:00-12:00"),
        ({"Cron": "0 9 * 7 1-5", "For": "1h"}, "Sat,Sun 00:00-24:00"),
        ({"Cron": "@monthly", "For": "1h"}, "Mon-Fri 08:00-12:00"),
    ],
    ids=json.dumps,
)
def test_schedules_that_meet_on_no_day_are_warned_of(rule: object, destination: object) -> None:
    (told,) = warned({"Send": [{"To": "ARCHIVE", "Schedule": destination}], "Schedule": rule})
    assert told.endswith("are never open at the same time.")


def test_choosing_instances_by_a_tag_that_is_read_from_a_sample_is_warned_of() -> None:
    chosen = {"Instances": {"ImageType": "ORIGINAL", "InstanceNumber": 1, "PatientAge": "045Y"}}
    (told,) = warned(chosen)
    assert told.startswith("Instances: ImageType is read from one instance of each series")
    assert warned(chosen | {"Sample": "Every"}) == []
    assert warned({"Send": [{"To": "ARCHIVE", **chosen}]})[0].startswith("Send[0].Instances: ImageType")


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ({"Modality": "ct"}, 'Match.Modality: Modality never holds "ct": it consists of capital letters'),
        ({"Modality": ["CT", "m r!"]}, "Match.Modality[1]: Modality never holds"),
        ({"AccessionNumber": "12345678901234567"}, "at most 16 characters (SH)"),
        ({"StudyInstanceUID": {"StartsWith": "1.2.x"}}, "digits and dots (UI)"),
        ({"SeriesNumber": 1.5}, "it is a whole number (IS)"),
        ({"Rows": 70000}, "it goes from 0 to 65535 (US)"),
        ({"RemoteAET": "LONGER THAN SIXTEEN"}, "at most 16 characters (AE)"),
        ({"ImageType": "ORIGINAL\\PRIMARY"}, "a backslash stands between values"),
        (
            {"Modality": {"Wildcard": "ct*"}},
            'Match.Modality.Wildcard: Modality never holds "ct*": it consists of',
        ),
        ({"AccessionNumber": {"Wildcard": "1234567890*123456?"}}, "at most 16 characters (SH)"),
        ({"PatientName": {"Wildcard": "x" * 65 + "*"}}, "at most 64 characters (PN)"),
        ({"Rows": {"Gt": 70000}}, 'Match.Rows.Gt: Rows never holds "70000": it goes from 0 to 65535 (US).'),
        ({"Rows": {"Lt": -1}}, "it goes from 0 to 65535 (US)"),
        ({"Rows": {"Between": [70000, 80000]}}, 'never holds "70000"'),
        ({"Rows": {"Between": [-5, -1]}}, 'never holds "-1"'),
        ({"InstancesCount": -1}, 'Match.InstancesCount: InstancesCount never holds "-1": it is never below 0.'),
        ({"InstancesCount": 1.5}, "it is a whole number."),
        ({"PatientAgeYears": -1}, "it is never below 0."),
        ({"PatientAgeYears": {"Le": -1}}, "it is never below 0."),
    ],
)
def test_a_value_that_a_tag_cannot_hold_is_warned_of(match: dict[str, Any], told: str) -> None:
    assert [each for each in warned({"Match": match}) if told in each]


def test_a_value_that_a_tag_cannot_hold_is_found_in_instances_too() -> None:
    never = {"Instances": {"Modality": "ct"}}
    (told,) = warned(never)
    assert told.startswith('Instances.Modality: Modality never holds "ct"')
    (told,) = warned({"Send": ["NIGHT", {"To": "ARCHIVE", **never}]})
    assert told.startswith('Send[1].Instances.Modality: Modality never holds "ct"')


@pytest.mark.parametrize(
    "match",
    [
        {"Modality": {"Equals": "ct", "IgnoreCase": True}},
        {"PatientName": "x" * 60 + "=" + "y" * 60},
        {"StudyDescription": "Ünïcode, lower case"},
        {"SeriesNumber": {"Gt": 1.5}},
        {"0029,1010": "anything at all " * 20},
        {"Modality": {"Wildcard": "C?"}},
        {"Modality": {"Wildcard": "ct*", "IgnoreCase": True}},
        {"AccessionNumber": {"Wildcard": "*1234567890123456*"}},
        {"PatientName": {"Wildcard": "x" * 40 + "*" + "y" * 40}},
        {"PatientName": {"Wildcard": "x" * 40 + "?" + "y" * 40}},
        {"Rows": {"Lt": 70000}},
        {"Rows": {"Ge": -1}},
        {"Rows": {"Between": [-1, 70000]}},
        {"SmallestImagePixelValue": -5},
        {"PatientAgeYears": {"Lt": 1.5}},
        {"InstancesCount": {"Gt": 100000}},
    ],
    ids=json.dumps,
)
def test_a_value_that_a_tag_can_hold_is_not_warned_of(match: dict[str, Any]) -> None:
    assert warned({"Match": match}) == []


# --- no false alarm --------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["A", "B", "AB", "BA", "a", "5", "7"])
NUMBERS = st.integers(3, 8)
DATES = st.sampled_from(["20260101", "20260102", "20260103"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.1.0.1", "11.0.0.1"])
NETWORKS = ADDRESSES | st.sampled_from(["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/31"])
TIMES = st.sampled_from(["0100", "0700", "1200", "2300"])
CLASSES = st.sampled_from(["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.11"])
CLASS_NAMES = st.sampled_from(["Image", "CTImage", "MRImageStorage", "StructuredReport"])
TEXT_OPERATORS = ("Equals", "NotEquals", "Contains", "NotContains", "StartsWith", "EndsWith", "Wildcard", "Regex")
ORDER = ("Equals", "NotEquals", "Lt", "Le", "Gt", "Ge")
# Key -> (what a rule asks, the values, one value only, operators).
KEYS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any], bool, tuple[str, ...]]] = {
    "Modality": (WORDS, WORDS, False, TEXT_OPERATORS + ORDER),
    "StudyDescription": (WORDS | NUMBERS, WORDS, True, TEXT_OPERATORS + ORDER),
    "ReferringPhysicianName": (WORDS | st.just("A^"), WORDS | st.just("A^^"), True, TEXT_OPERATORS + ORDER),
    "SeriesNumber": (NUMBERS, NUMBERS, False, ORDER),
    "InstancesCount": (NUMBERS, NUMBERS, True, ORDER),
    "StudyDate": (DATES, DATES, True, ORDER),
    "AcquisitionTime": (TIMES, TIMES, False, ORDER),
    "RemoteIP": (NETWORKS, ADDRESSES, False, ("Equals", "NotEquals")),
    "SOPClass": (CLASS_NAMES, CLASSES, False, ("Equals", "NotEquals")),
}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(KEYS)))
    operands, _values, _single, operators = KEYS[name]
    spec: dict[str, Any] = draw(st.dictionaries(st.sampled_from(operators), operands, max_size=2))
    for text in ("Contains", "NotContains", "StartsWith", "EndsWith", "Wildcard", "Regex"):
        if text in spec:
            spec[text] = str(spec[text]).replace("^", "")
    if draw(st.integers(0, 3)) == 0:
        spec[draw(st.sampled_from(["In", "NotIn"]))] = draw(st.lists(operands, min_size=1, max_size=3))
    if draw(st.integers(0, 4)) == 0 and name not in ("RemoteIP", "SOPClass"):
        spec["Between"] = draw(st.lists(operands, min_size=2, max_size=2))
    if draw(st.integers(0, 4)) == 0 or not spec:
        spec["Exists"] = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        spec["Of"] = "All"
    if draw(st.integers(0, 3)) == 0:
        spec["IgnoreCase"] = True
    return {name: spec}


MATCHES = st.recursive(
    st.lists(entries(), max_size=3).map(lambda found: {"All": found}),
    lambda below: st.builds(
        lambda group, parts: {group: parts},
        st.sampled_from(["Any", "All", "None"]),
        st.lists(below, min_size=1, max_size=3),
    ),
    max_leaves=4,
)


@st.composite
def resources(draw: st.DrawFn) -> dict[str, list[Any]]:
    tags: dict[str, list[Any]] = {}
    for name, (_operands, values, single, _operators) in KEYS.items():
        size = 1 if single else draw(st.integers(0, 3))
        found: list[Any] = [draw(st.none() | values) for _ in range(size)]
        tags["SOPClassUID" if name == "SOPClass" else name] = found
    tags["InstancesCount"] = [draw(NUMBERS)]
    return tags


@settings(max_examples=100, deadline=None)
@given(MATCHES, st.lists(resources(), min_size=1, max_size=6))
def test_a_rule_that_matches_something_is_never_called_a_contradiction(
    match: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    (rule,) = rules_of({"Match": match})
    if any(rule.match.evaluate(TagFacts(tags), NOW).matched for tags in found):
        assert not any("never matches" in each for each in warned({"Match": match}))


@settings(max_examples=100, deadline=None)
@given(st.lists(MATCHES, min_size=2, max_size=4), st.lists(resources(), min_size=1, max_size=6))
def test_a_rule_called_shadowed_never_gets_its_turn(matches: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    rules = rules_of(*({"Match": match, "Stop": True} for match in matches))
    told = rule_warnings(rules, Surroundings(DESTINATIONS, effective, NOW))
    shadowed = {name for name, warnings in told.items() if any("never looked at" in each.message for each in warnings)}
    for tags in found:
        matched = {each.rule.name for each in decide(rules, TagFacts(tags), NOW).verdicts if each.matched}
        assert not matched & shadowed


# --- altered copies --------------------------------------------------------------------------------------------------

COPIES = {"Match": {"PatientSex": "F"}, "Anonymize": {"Keep": []}}


def test_originals_to_where_anonymised_copies_go() -> None:
    (told,) = warned(COPIES, {"Match": {"Modality": "CT"}})
    assert told.startswith('Send[0]: "rule 0" sends anonymized copies to ARCHIVE')
    assert warned(COPIES, {"Match": {"Modality": "CT"}, "Send": ["NIGHT"]}) == []
    assert warned(COPIES, {"Match": {"PatientSex": "M"}}) == [], "no study is matched by both"
    assert warned(COPIES | {"Enabled": False}, {}) == []


def test_the_original_is_deleted_although_only_a_copy_was_sent() -> None:
    send = [{"To": "ARCHIVE", "Verify": "Committed"}]
    (told,) = warned(COPIES | {"DeleteAfterSend": True, "Send": send})
    assert told == "Send[0]: DeleteAfterSend deletes the original; ARCHIVE gets only an altered copy of it."
    lossless = [{"To": "ARCHIVE", "Verify": "Counted", "Transcode": "1.2.840.10008.1.2.4.80"}]
    assert warned({"DeleteAfterSend": True, "Send": lossless}) == []


def test_a_transfer_syntax_whose_plugin_is_missing() -> None:
    (rule,) = rules_of({"Send": [{"To": "ARCHIVE", "Transcode": "1.2.840.10008.1.2.4.90"}]})
    for plugins, count in ((None, 0), (frozenset({"gdcm"}), 0), (frozenset({"python"}), 1)):
        around = Surroundings(DESTINATIONS, effective, NOW, plugins=plugins)
        assert len(rule_warnings([rule], around)[rule.name]) == count
