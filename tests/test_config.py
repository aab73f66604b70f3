# SPDX-License-Identifier: AGPL-3.0-or-later
"""The section `Router`: all mistakes at once, with their places; and what is legal means what the contract says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tzlocal
from hypothesis import given
from hypothesis import strategies as st

from builders import MODALITIES, configured
from dicom_router.config import Neighbours, RuleParser, effective, neighbours, parse
from dicom_router.deliveries.delivery import Priority
from dicom_router.deliveries.retry import RetryPolicy
from dicom_router.destination import Destination, Kind, Late, Verify
from dicom_router.problems import Problem
from dicom_router.rules.schedule import Always

KNOWN = Neighbours(MODALITIES, frozenset({"research"}), frozenset({"cloud"}))
RUN = {"Command": ["/opt/run"]}
CT = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]}


def problems(section: object) -> dict[str, str]:
    """Message by path."""
    _, found = parse(section, KNOWN)
    assert all(isinstance(each, Problem) and each.message for each in found)
    assert len({(each.path, each.message) for each in found}) == len(found), "a problem is told once"
    return {each.path: each.message for each in found}


def nested(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


def test_a_pause_is_never_none() -> None:
    section = {"Retry": {"First": "0s", "Max": "0s"}, "Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}}
    settings, found = parse(section, KNOWN)
    assert not found
    assert settings.destinations["ARCHIVE"].retry == RetryPolicy(first=0.1, max=0.1)


def problems_of_rule(**changes: object) -> dict[str, str]:
    return problems({"Rules": [CT | changes]})


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "path", "said"),
    [
        (None, "", "must be an object, not null."),
        ({"Rules": [CT | {"Schedule": []}]}, ".Rules[0].Schedule", "A text like"),
        ({"Rules": [CT | {"Schedule": False}]}, ".Rules[0].Schedule", "A text like"),
        ({"Rules": [CT | {"Schedule": 0}]}, ".Rules[0].Schedule", "A text like"),
        (
            {"Rules": [CT | {"Tests": [{"Given": {"StudyID": nested(200)}}]}]},
            ".Rules[0]",
            "is nested more than 64 deep",
        ),
        ({"Destinations": {"A": {"Folder": "/srv/a\0b"}}}, ".Destinations.A.Folder", "may hold no NUL"),
        (["x"], "", "must be an object, not a list."),
        ({"Retry": 5}, ".Retry", "must be an object, not 5."),
        ({"Retry": {"Factor": "2"}}, ".Retry.Factor", 'must be a number, not "2".'),
        ({"Retry": {"Factor": True}}, ".Retry.Factor", "must be a number, not true."),
        ({"Retry": {"Factor": 0.5}}, ".Retry.Factor", "must be at least 1, not 0.5."),
        ({"Retry": {"Jitter": 2}}, ".Retry.Jitter", "must be at most 1, not 2."),
        ({"Retry": {"First": None}}, ".Retry.First", "null is not a duration: write a number and a unit, like"),
        ({"Rules": {}}, ".Rules", "must be a list, not an object."),
        ({"Rules": [None]}, ".Rules[0]", "must be an object, not null."),
        ({"Enable": "true"}, ".Enable", 'must be true or false, not "true".'),
        ({"Database": None}, ".Database", "must be a text, not null."),
        ({"TimeZone": 5}, ".TimeZone", "must be a text, not 5."),
        ({"Destinations": []}, ".Destinations", "must be an object, not a list."),
        ({"Destinations": {"A": {"Associations": 1.5}}}, ".Destinations.A.Associations", "must be a whole number, not"),
        (
            {"Destinations": {"A": {"Late": "\ud800"}}},
            ".Destinations.A.Late",
            "must be a text of whole characters, not",
        ),
        (
            {"Destinations": {"A": {"Priority": "high"}}},
            ".Destinations.A.Priority",
            'must be one of "Low", "Normal" or "Urgent", not "high".',
        ),
        (
            {"Rules": [CT | {"Process": {"Command": [""]}}]},
            ".Rules[0].Process.Command[0]",
            "must be a text that is not",
        ),
        ({"Alerts": {"Secret": 5}}, ".Alerts.Secret", "must be a text."),
        ({"Alerts": {"Email": ["hunter2"]}}, ".Alerts.Email", "must be an object."),
    ],
)
def test_a_mistake_is_told_in_the_words_of_json(section: object, path: str, said: str) -> None:
    assert problems(section)[f"Router{path}"].startswith(said)


# --- what is legal ---------------------------------------------------------------------------------------------------


def test_an_empty_section_means_the_defaults_of_the_contract() -> None:
    settings = configured({})
    assert (settings.enable, settings.database, settings.patient_data) == (True, "", True)
    assert (settings.destinations, settings.rules) == ({}, ())
    assert settings.history == 90 * 86400


def test_a_destination_has_the_defaults_of_the_contract() -> None:
    made = configured({"Destinations": {"A": {"Modality": "ARCHIVE"}}}).destinations["A"]
    assert made == Destination("A", "ARCHIVE", "ARCHIVE")
    assert (made.enabled, made.associations, made.priority) == (True, 2, Priority.NORMAL)
    assert (made.verify, made.late, made.retry) == (Verify.ACCEPTED, Late.NEW, RetryPolicy())
    assert isinstance(made.schedule, Always)


def test_a_rule_has_the_defaults_of_the_contract() -> None:
    (rule,) = configured({"Rules": [CT]}).rules
    assert (rule.name, rule.enabled, rule.trigger, rule.level) == ("all CT", True, "StableStudy", "Study")
    assert (rule.delay, rule.priority, rule.stop, rule.schedule, rule.version) == (0.0, None, False, None, 1)
    assert rule.source == CT


@pytest.mark.parametrize("zone", ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "nonsense", "../x", "/dev/null", "/"])
def test_a_time_zone_of_the_machine_that_cannot_be_told_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setattr(tzlocal, "get_localzone", tzlocal.reload_localzone)
    assert problems({"Rules": [CT]}) == {
        "Router.TimeZone": 'The machine\'s time zone cannot be told. Name one, like "Europe/Brussels".'
    }
    assert problems({"Rules": [CT], "TimeZone": "Europe/Brussels"}) == {}


def test_the_options_of_a_destination_are_read() -> None:
    options = {
        "Modality": "ARCHIVE",
        "Enabled": False,
        "Associations": 7,
        "Priority": "Urgent",
        "Late": "Never",
        "Timeout": "90s",
        "LocalAet": "ROUTER",
        "MoveOriginator": "MOVER",
        "Schedule": "19:00-07:00",
        "Retry": {"First": "5s", "Factor": 3, "Max": "10m", "Jitter": 0, "GiveUpAfter": "2d"},
    }
    made = configured({"Destinations": {"A": options}}).destinations["A"]
    assert (made.enabled, made.associations, made.priority, made.late) == (False, 7, Priority.URGENT, Late.NEVER)
    assert (made.timeout, made.local_aet, made.move_originator) == (90.0, "ROUTER", "MOVER")
    assert made.retry == RetryPolicy(5, 3, 600, 0, 2 * 86400)
    assert not isinstance(made.schedule, Always)


def test_the_retry_of_the_router_is_the_default_of_every_destination() -> None:
    section = {
        "Retry": {"First": "10s"},
        "Destinations": {"A": {"Modality": "ARCHIVE"}},
        "Rules": [CT | {"Send": ["A", "WORKSTATION"]}],
    }
    made = configured(section).destinations
    assert [made[name].retry.first for name in ("A", "WORKSTATION")] == [10.0, 10.0]


def test_a_rule_may_name_a_modality_that_has_no_entry() -> None:
    settings = configured({"Rules": [CT | {"Send": ["WORKSTATION"]}]})
    assert settings.destinations == {"WORKSTATION": Destination("WORKSTATION", "WORKSTATION", "WORKSTATION")}


def test_rules_stay_in_their_order() -> None:
    rules = [CT | {"Name": name} for name in ("b", "a", "c")]
    assert [rule.name for rule in configured({"Rules": rules}).rules] == ["b", "a", "c"]


def test_the_shipped_configuration_has_no_problem() -> None:
    text = (Path(__file__).parents[1] / "orthanc.json").read_text(encoding="utf-8")
    comment_or_text = r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/'
    whole = json.loads(re.sub(comment_or_text, lambda found: found[1] or "", text, flags=re.DOTALL))
    settings, found = parse(whole["Router"], neighbours(whole))
    assert found == []
    assert settings.rules


def test_a_send_says_what_is_different_from_its_destination() -> None:
    plain = Destination("A", "ARCHIVE", schedule=Always())
    changed = effective(plain, {"Priority": "Low", "Associations": 5}, "19:00-07:00")
    assert (changed.priority, changed.associations, changed.name) == (Priority.LOW, 5, "A")
    assert not isinstance(changed.schedule, Always)
    assert effective(plain, {}) == plain


def test_what_orthanc_knows_is_read_in_both_of_its_forms() -> None:
    told = neighbours(
        {
            "DicomModalities": {"A": ["AET-A", "host", 104], "B": {"AET": "AET-B", "Host": "h", "Port": 1}},
            "OrthancPeers": {"peer": ["http://x"]},
            "DicomWeb": {"Servers": {"cloud": ["http://y"]}, "Root": "/dw"},
        }
    )
    assert told == Neighbours({"A": "AET-A", "B": "AET-B"}, frozenset({"peer"}), frozenset({"cloud"}), "/dw")
    assert neighbours({}) == Neighbours()


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_all_mistakes_are_told_together_each_with_its_place() -> None:
    told = problems(
        {
            "Enabel": True,
            "TimeZone": "Europe/Brusels",
            "Database": "mysql://x",
            "Retry": {"First": "soon", "Jitter": 2},
            "Destinations": {
                "A": {"Modality": "ARCHIV", "Associations": 0},
                "B": {"Modality": "ARCHIVE", "Late": "new", "Shedule": ""},
                "bad/name": {"Modality": "ARCHIVE"},
                "C": {},
            },
            "Rules": [
                {"Match": {"Modalty": "CT"}, "Send": ["ARCHIV"]},
                CT | {"Match": {"StudyDate": {"Between": ["2026"]}}, "Delay": 5},
                CT | {"Send": "ARCHIVE"},
                "no rule",
            ],
        }
    )
    assert set(told) >= {
        "Router.Enabel",
        "Router.Retry.First",
        "Router.Retry.Jitter",
        "Router.Destinations.A.Associations",
        "Router.Destinations.B.Late",
        "Router.Destinations.B.Shedule",
        "Router.Destinations.bad/name",
        "Router.Destinations.C",
        "Router.Rules[0].Name",
        "Router.Rules[0].Match.Modalty",
        "Router.Rules[0].Send[0]",
        "Router.Rules[1].Delay",
        "Router.Rules[2].Send",
        "Router.Rules[2].Name",
        "Router.Rules[3]",
    }
    assert any(path.startswith("Router.Rules[1].Match.StudyDate") for path in told)
    assert 'Did you mean "Enable"?' in told["Router.Enabel"]
    assert 'Did you mean "Schedule"?' in told["Router.Destinations.B.Shedule"]
    assert 'Did you mean "Modality"?' in told["Router.Rules[0].Match.Modalty"]
    assert 'Did you mean "ARCHIVE"?' in told["Router.Rules[0].Send[0]"]
    assert '"New"' in told["Router.Destinations.B.Late"]


@pytest.mark.parametrize(
    ("section", "path", "words"),
    [
        ({"TimeZone": "Europe/Brusels"}, "Router.TimeZone", 'Did you mean "Europe/Brussels"?'),
        ({"Database": "mysql://x"}, "Router.Database", "sqlite:///"),
        ({"Destinations": {"A": {"Modality": "ARCHIV"}}}, "Router.Destinations.A.Modality", '"ARCHIVE"'),
        ({"Destinations": {"A": {"Modality": "ARCHIVE", "Peer": "x"}}}, "Router.Destinations.A", "exactly one of"),
        ({"Retention": {"History": "long"}}, "Router.Retention.History", '"7d"'),
        ({"PatientData": "yes"}, "Router.PatientData", "true or false"),
        ({"Rules": {}}, "Router.Rules", "list"),
        ([], "Router", "an object"),
        (None, "Router", "an object"),
        ("on", "Router", "an object"),
    ],
)
def test_a_mistake_has_its_place_and_a_hint(section: object, path: str, words: str) -> None:
    assert words in problems(section)[path]


@pytest.mark.parametrize("aet", ["", " ", "SEVENTEEN-LETTERS", "A\\B", "Ä", "A\n"])
def test_an_ae_title_that_dicom_does_not_allow_is_refused(aet: str) -> None:
    section = {"Destinations": {"A": {"Modality": "ARCHIVE", "LocalAet": aet}}}
    assert set(problems(section)) == {"Router.Destinations.A.LocalAet"}


@pytest.mark.parametrize("name", ["", "x" * 65, "a/b", "ä", "a\n", 'a"b', "a\\b"])
def test_a_name_that_no_address_can_hold_is_refused(name: str) -> None:
    assert "Router.Rules[0].Name" in problems_of_rule(Name=name)


@pytest.mark.parametrize("name", ["x", "x" * 64, "night CT", "a_b.c-d 9"])
def test_a_legal_name_is_taken(name: str) -> None:
    assert problems_of_rule(Name=name) == {}


def test_two_rules_of_one_name_are_refused() -> None:
    assert problems({"Rules": [CT, CT]}) == {"Router.Rules[1].Name": 'There is a rule "all CT" already.'}


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"Destinations": {"A": {"Modality": "ARCHIVE", "Bandwidth": "1MB/s"}}}, "Router.Destinations.A.Bandwidth"),
        (
            {"Rules": [CT | {"Process": {"Command": ["x"]}, "Modify": {"Remove": ["StationName"]}}]},
            "Router.Rules[0].Modify",
        ),
    ],
)
def test_what_is_not_built_is_refused_and_never_ignored(section: object, path: str) -> None:
    assert "is not supported yet" in problems(section)[path]


def folder(**options: object) -> dict[str, object]:
    return {"Destinations": {"A": {"Folder": "/srv/export", **options}}}


@pytest.mark.parametrize("kind", [None, "Dicom", "Zip", "Dicomdir", "Png", "Jpeg", "Pdf"])
def test_a_folder_is_a_destination_in_each_of_its_formats(kind: str | None) -> None:
    section = folder(**({"Format": kind} if kind else {}), Verify="Counted", Late="All", Schedule="19:00-07:00")
    made = configured(section | {"Rules": [CT | {"Send": ["A"]}]}).destinations["A"]
    assert (made.kind, made.target, made.format) == ("Folder", "/srv/export", kind or "Dicom")
    assert made.whole == (kind in {"Zip", "Dicomdir", "Pdf"})


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"Path": "${PatientID}/x.dcm"}, "Path", "environment variables"),
        ({"Path": "{PatientId}/x.dcm"}, "Path", 'Did you mean "PatientID"?'),
        ({"Path": "{PatientID"}, "Path", "brace"),
        ({"Path": "../{PatientID}"}, "Path", "cannot be the name"),
        ({"Path": "/{PatientID}"}, "Path", "relative"),
        ({"Path": "{PixelData}.dcm"}, "Path", "no value"),
        ({"Path": "{SOPInstanceUID}.zip", "Format": "Zip"}, "Path", "differs between the instances"),
        ({"Folder": "export"}, "Folder", "absolute"),
        ({"Verify": "Committed"}, "Verify", "cannot commit"),
        ({"LocalAet": "ME"}, "LocalAet", "no AE titles"),
        ({"MoveOriginator": "ME"}, "MoveOriginator", "no AE titles"),
    ],
)
def test_what_a_folder_cannot_do_is_refused_with_the_reason(options: dict[str, object], key: str, words: str) -> None:
    told = problems(folder(**options))
    assert set(told) == {f"Router.Destinations.A.{key}"}
    assert words in told[f"Router.Destinations.A.{key}"]


def test_a_rule_may_not_ask_a_folder_for_it_either() -> None:
    sends = [{"To": "A", "Verify": "Committed"}, {"FirstOf": ["ARCHIVE", "A"], "LocalAet": "ME"}]
    told = problems(folder() | {"Rules": [CT | {"Send": sends}]})
    assert set(told) == {"Router.Rules[0].Send[0].Verify", "Router.Rules[0].Send[1].LocalAet"}


@pytest.mark.parametrize("key", ["Path", "Format"])
def test_what_says_how_files_are_written_goes_with_a_folder_only(key: str) -> None:
    told = problems({"Destinations": {"A": {"Modality": "ARCHIVE", key: "Zip"}}})
    assert told == {f"Router.Destinations.A.{key}": "goes with a Folder only."}


def test_peers_and_dicom_web_servers_are_destinations_with_and_without_an_entry() -> None:
    section = {
        "Retry": {"First": "5s"},
        "Destinations": {"A": {"Peer": "research", "Compress": True}, "B": {"DicomWeb": "cloud", "Verify": "Counted"}},
        "Rules": [CT | {"Send": ["A", "B", "research", {"To": "cloud", "Late": "All"}]}],
    }
    settings, found = parse(section, KNOWN)
    assert found == []
    told = {name: (each.kind, each.target, each.aet) for name, each in settings.destinations.items()}
    assert told == {
        "A": (Kind.PEER, "research", ""),
        "B": (Kind.DICOM_WEB, "cloud", ""),
        "research": (Kind.PEER, "research", ""),
        "cloud": (Kind.DICOM_WEB, "cloud", ""),
    }
    assert {each.retry.first for each in settings.destinations.values()} == {5.0}
    assert settings.destinations["A"].compress


def test_a_peer_and_a_dicom_web_server_must_be_in_orthancs_configuration() -> None:
    told = problems({"Destinations": {"A": {"Peer": "reserch"}, "B": {"DicomWeb": "research"}}})
    assert told["Router.Destinations.A.Peer"] == (
        '"reserch" is not one of Orthanc\'s OrthancPeers. Did you mean "research"?'
    )
    assert '"research" is not one of Orthanc\'s DicomWeb.Servers.' in told["Router.Destinations.B.DicomWeb"]


def test_a_switched_off_dicom_web_plugin_is_told_also_for_a_server_without_an_entry() -> None:
    known = neighbours({"DicomWeb": {"Enable": False, "Servers": {"cloud": ["http://y"]}}})
    _, found = parse({"Destinations": {"A": {"DicomWeb": "cloud"}}}, known)
    assert [each.path for each in found] == ["Router.Destinations.A.DicomWeb"]
    _, found = parse({"Rules": [CT | {"Send": ["cloud"]}]}, known)
    assert [each.path for each in found] == ["Router.Rules[0].Send[0].DicomWeb"]


def test_a_name_of_several_kinds_must_be_told_apart() -> None:
    known = Neighbours({"X": "X"}, frozenset({"X"}), frozenset({"X"}))
    _, found = parse({"Rules": [CT | {"Send": ["X"]}]}, known)
    assert [each.path for each in found] == ["Router.Rules[0].Send[0]"]
    assert found[0].message == (
        '"X" is in DicomModalities and OrthancPeers and DicomWeb.Servers; '
        'say which is meant by an entry in Destinations, like "X": { "Modality": "X" }.'
    )
    settings, found = parse({"Destinations": {"X": {"Peer": "X"}}, "Rules": [CT | {"Send": ["X"]}]}, known)
    assert found == []
    assert settings.destinations["X"].kind is Kind.PEER


@pytest.mark.parametrize("kind", ["Peer", "DicomWeb"])
@pytest.mark.parametrize(
    ("option", "value"), [("Verify", "Committed"), ("LocalAet", "ME"), ("MoveOriginator", "ME"), ("Compress", True)]
)
def test_what_a_server_over_http_cannot_do_is_refused_where_it_is_asked_for(
    kind: str, option: str, value: object
) -> None:
    name = {"Peer": "research", "DicomWeb": "cloud"}[kind]
    legal = (kind, option) == ("Peer", "Compress")
    section = {"Destinations": {"A": {kind: name, option: value}}}
    assert set(problems(section)) == (set() if legal else {f"Router.Destinations.A.{option}"})
    for send in ({"To": name, option: value}, {"FirstOf": ["ARCHIVE", name], option: value}):
        told = problems_of_rule(Send=[send])
        only_one = "To" in send
        expected = f"Router.Rules[0].Send[0].{option}"
        assert (expected in told) == (not legal or not only_one)


def test_a_modality_is_not_compressed() -> None:
    told = problems({"Destinations": {"A": {"Modality": "ARCHIVE", "Compress": True}}})
    assert told == {"Router.Destinations.A.Compress": "goes with a Peer only, not with a modality."}


SEG = {"Command": ["/opt/seg/run", "{dir}"], "Timeout": "30m"}


def test_a_rule_with_a_process_sends_to_it_and_what_follows_is_kept() -> None:
    sends = [{"To": "ARCHIVE", "When": "^success$"}, {"FirstOf": ["CT1", "WORKSTATION"], "From": "Input"}, "CT1"]
    made = configured({"Rules": [CT | {"Process": SEG, "Send": sends, "Reroute": True}]})
    (rule,) = made.rules
    assert [send.members for send in rule.sends] == [("all CT (process)",)]
    assert rule.process is not None
    assert (rule.process.command, rule.process.timeout) == (("/opt/seg/run", "{dir}"), 1800.0)
    assert rule.process.reroute
    assert [(send.label, send.from_input) for send in rule.final_sends] == [
        ("ARCHIVE", False),
        ("FirstOf CT1, WORKSTATION", True),
        ("CT1", False),
    ]
    process = made.destinations["all CT (process)"]
    assert (process.kind, process.target, process.whole) == ("Process", "/opt/seg/run", True)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"Process": {"Command": []}}, "Process.Command"),
        ({"Process": {"Command": [""]}}, "Process.Command[0]"),
        ({"Process": {"Command": "run"}}, "Process.Command"),
        ({"Process": {"Timeout": "1h"}}, "Process.Command"),
        ({"Process": SEG | {"Shell": True}}, "Process.Shell"),
        ({"Process": SEG | {"Timeout": 5}}, "Process.Timeout"),
        ({"Process": {"Command": ["a\0b"]}}, "Process.Command"),
        ({"Process": SEG, "Level": "Patient"}, "Process"),
        ({"Process": SEG, "Trigger": "StablePatient"}, "Process"),
        ({"Process": SEG, "DeleteAfterSend": True}, "DeleteAfterSend"),
        ({"Process": SEG, "Send": [{"To": "ARCHIVE", "When": "("}]}, "Send[0].When"),
        ({"Process": SEG, "Send": [{"To": "ARCHIVE", "From": "Both"}]}, "Send[0].From"),
        ({"Process": SEG, "Send": ["all CT (process)"]}, "Send[0]"),
        ({"Reroute": True}, "Reroute"),
        ({"Send": [{"To": "ARCHIVE", "When": "success"}]}, "Send[0].When"),
        ({"Send": [{"To": "ARCHIVE", "From": "Input"}]}, "Send[0].From"),
    ],
)
def test_a_process_that_cannot_be_meant_is_refused(changes: dict[str, object], path: str) -> None:
    assert set(problems_of_rule(**changes)) == {f"Router.Rules[0].{path}"}


@pytest.mark.parametrize(
    "changes",
    [{"Trigger": "StablePatient"}, {"Trigger": "NewInstance"}, {"Level": "Patient"}],
    ids=lambda changes: next(iter(changes.values())),
)
def test_deleting_more_or_less_than_was_looked_at_is_refused(changes: dict[str, object]) -> None:
    assert set(problems_of_rule(**{"DeleteAfterSend": True, **changes})) == {"Router.Rules[0].DeleteAfterSend"}


def test_a_changed_rule_over_rest_changes_its_process() -> None:
    before = RuleParser(KNOWN, {})
    assert before.rule(CT | {"Process": SEG}, "Rule") is not None
    after = RuleParser(KNOWN, before.destinations)
    assert after.rule(CT | {"Process": SEG | {"Timeout": "1h"}}, "Rule") is not None
    assert after.destinations["all CT (process)"].timeout == 3600.0


@pytest.mark.parametrize("send", [{}, {"Schedule": "19:00-07:00"}, {"To": "ARCHIVE", "Bogus": 1}, 5, None, ["ARCHIVE"]])
def test_a_send_that_names_nobody_is_refused(send: object) -> None:
    told = problems_of_rule(Send=[send])
    assert told
    assert all(path.startswith("Router.Rules[0].Send[0]") for path in told)


def test_schedules_are_checked_where_they_stand() -> None:
    section = {
        "Destinations": {"A": {"Modality": "ARCHIVE", "Schedule": "25:00-07:00"}},
        "Rules": [CT | {"Schedule": "nights", "Send": [{"To": "A", "Schedule": {"Cron": "x"}}]}],
    }
    told = set(problems(section))
    assert {"Router.Destinations.A.Schedule", "Router.Rules[0].Schedule"} <= told
    assert any(path.startswith("Router.Rules[0].Send[0].Schedule") for path in told)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("Enable", "Database", "TimeZone", "Destinations", "Rules", "Retry", "Retention", "Alerts", "PatientData")
RULE_KEYS = ("Name", "Match", "Send", "Schedule", "Delay", "Priority", "Stop", "Trigger", "Level", "Instances", "Tests")


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4)))
def test_no_configuration_whatever_raises_and_what_is_left_out_of_it_is_told(section: object) -> None:
    settings, found = parse(section, KNOWN)
    if not found and isinstance(section, dict):
        assert [rule.source for rule in settings.rules] == section.get("Rules", [])
        assert {*section.get("Destinations", {})} <= {*settings.destinations}


@given(st.dictionaries(st.sampled_from(RULE_KEYS), JSON, max_size=5))
def test_no_rule_whatever_raises_and_a_wrong_one_tells_why(changes: dict[str, Any]) -> None:
    settings, found = parse({"Rules": [CT | changes]}, KNOWN)
    assert len(settings.rules) == (0 if found else 1)
    assert all(each.path.startswith("Router.Rules[0]") for each in found)


# --- rules over REST -------------------------------------------------------------------------------------------------


def test_a_rule_over_rest_is_read_like_one_of_the_file() -> None:
    parser = RuleParser(KNOWN, {})
    rule = parser.rule(CT, "Rule", version=3)
    assert parser.problems == []
    assert rule is not None
    assert (rule.name, rule.version, rule.origin) == ("all CT", 3, "Database")
    assert set(parser.destinations) == {"ARCHIVE"}


def test_its_mistakes_have_their_places_too() -> None:
    parser = RuleParser(KNOWN, {})
    assert parser.rule({"Name": "x", "Match": {"Modalty": 1}, "Send": ["?"]}, "Rules[2]") is None
    assert {each.path for each in parser.problems} == {"Rules[2].Match.Modalty", "Rules[2].Send[0]"}


def test_a_saved_rule_stays_active_when_time_has_overtaken_its_tests() -> None:
    rule = {
        "Name": "fresh",
        "Match": {"StudyDate": {"NewerThan": "7d"}},
        "Send": ["ARCHIVE"],
        "Tests": [{"Given": {"StudyDate": "20010101"}, "Expect": True}],
    }
    known = Neighbours(modalities={"ARCHIVE": "ARCHIVE"})
    refusing = RuleParser(known, {})
    assert refusing.rule(rule, "Rule") is None
    assert [problem.path for problem in refusing.problems] == ["Rule.Tests[0]"]
    loading = RuleParser(known, {})
    assert loading.saved_rule(rule, "Rule", 3) is not None
    assert loading.problems == []


def test_all_that_is_wrong_with_one_rule_is_told_together() -> None:
    told = problems_of_rule(
        Stop="yes",
        Schedule="25:00-07:00",
        Instances={"Foo": 1},
        Modify={"Bar": 1},
        Tests=[{"Given": {"Modality": "MR"}, "Expect": True}],
        Send=[{"To": "NOPE", "Foo": 1, "Transcode": "zz"}],
    )
    places = ("Stop", "Schedule", "Instances.Foo", "Modify.Bar", "Tests[0]", "Send[0].To", "Send[0].Foo")
    assert {*told} == {f"Router.Rules[0].{place}" for place in (*places, "Send[0].Transcode")}


def test_all_that_is_wrong_with_one_destination_is_told_together() -> None:
    told = problems({"Destinations": {"D": {"Modality": "ARCHIV", "Asociations": 3, "Schedule": "aa"}}})
    assert {*told} == {f"Router.Destinations.D.{key}" for key in ("Modality", "Asociations", "Schedule")}


def test_a_rule_without_a_name_is_looked_at_all_the_same() -> None:
    assert {*problems({"Rules": [{"Match": {"Foo": 1}}]})} == {"Router.Rules[0].Name", "Router.Rules[0].Match.Foo"}


def test_a_rule_may_send_nothing() -> None:
    assert problems_of_rule(Send=[], Stop=True) == {}


def test_what_names_nothing_is_no_destination() -> None:
    assert {*problems({"Destinations": {"D": {"Modality": None}}})} == {"Router.Destinations.D"}


@pytest.mark.parametrize("entry", [{"Modality": "ARCHIVE", "Asociations": 3}, {"Modality": "ARCHIV"}, 5])
def test_a_mistake_in_a_destination_is_no_mistake_of_a_rule_that_sends_there(entry: object) -> None:
    rule = CT | {"Send": [{"To": "D", "Transcode": "1.2.840.10008.1.2.4.50"}]}
    told = problems({"Destinations": {"D": entry}, "Rules": [rule]})
    assert all(place.startswith("Router.Destinations.D") for place in told)


@pytest.mark.parametrize(
    ("section", "hint"),
    [
        ({"Retry": {"Frist": "1s"}}, 'Did you mean "First"?'),
        ({"Retention": {"Historie": "9d"}}, 'Did you mean "History"?'),
        ({"Destinations": {"D": {"Modality": "ARCHIVE", "Retry": {"Foo": "1s"}}}}, "Legal are: First, Factor, Max"),
    ],
)
def test_an_unknown_key_is_held_against_those_of_its_own_section(section: dict[str, object], hint: str) -> None:
    (message,) = problems(section).values()
    assert hint in message


def test_what_is_right_beside_a_mistake_can_be_shown() -> None:
    section = {"Rules": [CT, {"Name": "wrong", "Stop": 1}], "PatientData": False, "TimeZone": "Europe/Atlantis"}
    settings, found = parse(section, KNOWN)
    assert len(found) == 2
    assert [rule.name for rule in settings.rules] == ["all CT"]
    assert not settings.patient_data
