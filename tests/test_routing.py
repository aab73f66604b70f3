# SPDX-License-Identifier: AGPL-3.0-or-later
"""A settled study in, deliveries out."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from builders import STRANGER, configured, destination, ended, found
from dicom_router.deliveries.alternates import by_key
from dicom_router.deliveries.delivery import Delivery, Priority, Reason, Status
from dicom_router.dispatch.resend import Resend
from dicom_router.orthanc_rest import OrthancError
from dicom_router.routing.routing import Routed, Routing
from dicom_router.store.history import Filter
from dicom_router.store.journal import Position
from dicom_router.store.store import Store
from dicom_router.studies.instances import list_instances
from dicom_router.studies.listings import Listings
from dicom_router.studies.selection import just_listed
from dicom_router.studies.study import ResourceFacts
from fakes.orthanc import FakeOrthanc, unreachable
from rest_client import make_routing

MONDAY_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
HOUR = 3600.0
CT = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE", "WORKSTATION"]}


class World:
    """Routing over a real store and a fake Orthanc."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.orthanc = FakeOrthanc()
        self.now = MONDAY_NOON
        self.routing: Routing | None = None
        self.listings = Listings(lambda: self.now)

    def configure(self, *rules: Mapping[str, object], **section: object) -> "World":
        settings = configured({"TimeZone": "UTC", "Rules": list(rules), **section})
        self.routing = make_routing(self.store, self.orthanc, settings, lambda: self.now, listings=self.listings)
        return self

    def look(self, study: str = "s", trigger: str = "StableStudy", position: Position | None = None) -> Routed:
        assert self.routing is not None
        return self.routing.look_at(study, trigger, position)

    def sends(self, study: str = "s") -> dict[str, Delivery]:
        """The deliveries that a look makes, by destination."""
        made = [found(self.store, each) for each in self.look(study).deliveries]
        assert len({each.destination for each in made}) == len(made)
        return {each.destination: each for each in made}

    def patient(self, study: str = "s") -> str:
        """Orthanc's ID of its patient."""
        assert self.routing is not None
        return ResourceFacts(self.routing.rest, study).patient_id

    def arrived(self, destination: str, study: str = "s") -> None:
        """All of the study is there now, and its delivery has ended."""
        assert self.routing is not None
        digests = [each.digest for each in list_instances(self.routing.rest, "Study", study)]
        self.store.ledger.add(study, destination, digests)


@pytest.fixture
def world(store: Store) -> World:
    made = World(store)
    made.orthanc.receive("s", tags={"Modality": "CT", "StudyDescription": "Thorax"})
    made.orthanc.receive("s")
    return made


def why_not(routed: Routed) -> dict[str, str]:
    return {
        each["Destination"]: each["Why"]
        for verdict in routed.verdicts
        for each in verdict.get("NotSent", [])  # type: ignore[attr-defined]
    }


def test_a_study_that_matches_is_sent_to_each_destination(world: World) -> None:
    made = world.configure(CT).sends()
    assert set(made) == {"ARCHIVE", "WORKSTATION"}
    delivery = made["ARCHIVE"]
    assert (delivery.status, delivery.reason, delivery.rule) == (Status.SCHEDULED, Reason.QUEUED, "all CT")
    assert (delivery.instances_count, delivery.bytes, delivery.due_at) == (2, 2 * 39278, MONDAY_NOON)
    assert (delivery.study_description, delivery.remote_aet, delivery.resource_id) == ("Thorax", "CT1", "s")


def test_a_study_that_does_not_match_is_decided_and_not_sent(world: World) -> None:
    assert world.configure(CT | {"Match": {"Modality": "MR"}}).sends() == {}
    (decision,) = world.store.journal.decisions("s")
    assert [verdict["Matched"] for verdict in decision.verdicts] == [False]


def test_a_look_tells_which_instances_it_saw(world: World) -> None:
    assert world.configure(CT).look().seen == {"s-a-1", "s-a-2"}


def test_the_place_in_the_log_is_written_with_the_decision(world: World) -> None:
    world.configure(CT).look(position=Position(9, 7, "d"))
    assert world.store.journal.position() == Position(9, 7, "d")


def test_a_destination_of_several_rules_gets_the_study_once_by_the_first(world: World) -> None:
    rules = [
        CT | {"Name": "first", "Send": ["ARCHIVE"]},
        CT | {"Name": "second", "Send": ["WORKSTATION", "ARCHIVE"], "Priority": "Urgent"},
    ]
    made = world.configure(*rules).sends()
    assert (made["ARCHIVE"].rule, made["ARCHIVE"].priority) == ("first", Priority.NORMAL)
    assert (made["WORKSTATION"].rule, made["WORKSTATION"].priority) == ("second", Priority.URGENT)


def test_stop_ends_the_looking(world: World) -> None:
    rules = [
        CT | {"Name": "first", "Send": ["ARCHIVE"], "Stop": True},
        CT | {"Name": "second", "Send": ["WORKSTATION"]},
    ]
    assert set(world.configure(*rules).sends()) == {"ARCHIVE"}


def test_stop_of_a_rule_that_does_not_match_changes_nothing(world: World) -> None:
    rules = [
        CT | {"Name": "first", "Match": {"Modality": "MR"}, "Stop": True},
        CT | {"Name": "second", "Send": ["WORKSTATION"]},
    ]
    assert set(world.configure(*rules).sends()) == {"WORKSTATION"}


def test_a_rule_that_is_switched_off_is_not_looked_at(world: World) -> None:
    assert world.configure(CT | {"Enabled": False}).sends() == {}


def test_a_study_is_not_sent_back_to_where_it_came_from(world: World) -> None:
    made = world.configure(CT | {"Send": ["CT1", "ARCHIVE"]}).look()
    assert [found(world.store, each).destination for each in made.deliveries] == ["ARCHIVE"]
    assert why_not(made) == {"CT1": "It came from there."}


def test_what_came_from_elsewhere_is_sent_there_all_the_same(world: World) -> None:
    world.orthanc.receive("s", metadata={"RemoteAET": "ARCHIVE"})
    made = world.configure(CT | {"Send": ["ARCHIVE"]}).sends()
    assert made["ARCHIVE"].instances_count == 2


@pytest.mark.parametrize("kind", ["ModifiedFrom", "AnonymizedFrom"])
def test_a_copy_made_for_sending_triggers_nothing(world: World, kind: str) -> None:
    world.orthanc.study_metadata["s"] = {kind: "original"}
    routed = world.configure(CT).look()
    assert (routed.deliveries, routed.found, len(routed.seen)) == ([], True, 2)
    assert len(world.store.journal.decisions("s")) == 1


def test_a_deleted_study_is_decided_as_gone(world: World) -> None:
    world.orthanc.delete_study("s")
    routed = world.configure(CT).look(position=Position(3, 3))
    assert (routed.deliveries, routed.found) == ([], False)
    assert world.store.journal.position() == Position(3, 3)


def test_a_part_that_is_deleted_during_a_look_is_no_deleted_study(world: World) -> None:
    world.orthanc.receive("s", series="b", tags={"Modality": "CT"})
    world.configure(CT | {"Match": {"0019,1010": {"NotEquals": "Z"}}})
    plain = world.orthanc.get

    def get(path: str, timeout: float = 60.0) -> object:
        if path.endswith("/tags?short"):
            world.orthanc.instances.pop("s-a-1", None)
        return plain(path, timeout)

    world.orthanc.get = get  # type: ignore[method-assign]
    with pytest.raises(OrthancError, match="A part of it was deleted"):
        world.look(position=Position(3, 3))
    assert world.store.journal.position() is None
    assert world.sends()["ARCHIVE"].instances_count == 2


def test_an_orthanc_that_does_not_answer_decides_nothing(world: World) -> None:
    world.configure(CT)
    world.orthanc.failures["/tools"] = unreachable()
    with pytest.raises(OrthancError):
        world.look(position=Position(3, 3))
    assert world.store.journal.position() is None
    assert world.store.journal.decisions("s") == []


# --- late instances --------------------------------------------------------------------------------------------------


def late(world: World, option: str) -> World:
    world.configure(CT | {"Send": ["ARCHIVE"]}, Destinations={"ARCHIVE": {"Modality": "ARCHIVE", "Late": option}})
    world.arrived("ARCHIVE")
    return world


@pytest.mark.parametrize("option", ["New", "All", "Never"])
def test_a_study_without_new_instances_is_not_sent_again(world: World, option: str) -> None:
    routed = late(world, option).look()
    assert routed.deliveries == []
    assert why_not(routed) == {"ARCHIVE": "It has all of it already."}


def test_a_second_look_at_what_is_being_sent_makes_no_delivery_until_something_came(world: World) -> None:
    assert set(world.configure(CT).sends()) == {"ARCHIVE", "WORKSTATION"}
    world.store.queue.claim("ARCHIVE", "lease", world.now)
    assert world.sends() == {}, "one is being sent, the other waits"
    world.orthanc.receive("s")
    assert set(world.sends()) == {"ARCHIVE"}, "the one that waits takes it along"


@pytest.mark.parametrize(("option", "count", "renew"), [("New", 1, False), ("All", 3, True)])
def test_a_late_instance_is_sent_alone_or_with_all_others(world: World, option: str, count: int, renew: bool) -> None:
    late(world, option).orthanc.receive("s")
    delivery = world.sends()["ARCHIVE"]
    assert (delivery.instances_count, delivery.renew) == (count, renew)


def test_a_late_instance_is_not_sent_when_late_ones_never_are(world: World) -> None:
    late(world, "Never").orthanc.receive("s")
    routed = world.look()
    assert routed.deliveries == []
    assert list(why_not(routed)) == ["ARCHIVE"]


def test_never_late_still_sends_the_first_time(world: World) -> None:
    world.configure(CT | {"Send": [{"To": "ARCHIVE", "Late": "Never"}]})
    assert world.sends()["ARCHIVE"].instances_count == 2


@pytest.mark.parametrize("option", ["New", "All", "Never"])
@pytest.mark.parametrize(("trigger", "what"), [("StableSeries", "s-b"), ("NewInstance", "s-b-1")])
def test_what_comes_after_another_part_of_its_study_is_sent_whatever_is_done_with_late_ones(
    world: World, option: str, trigger: str, what: str
) -> None:
    late(world, option).orthanc.receive("s", series="b", tags={"Modality": "CT"})
    world.configure(CT | {"Trigger": trigger, "Send": [{"To": "ARCHIVE", "Late": option}]})
    (made,) = world.look(what, trigger).deliveries
    delivery = found(world.store, made)
    assert (delivery.resource_id, delivery.instances_count, delivery.renew) == (what, 1, False)


@pytest.mark.parametrize(("option", "counts"), [("New", [1]), ("All", [3]), ("Never", [])])
def test_late_instances_of_a_series_are_those_that_come_after_the_series(
    world: World, option: str, counts: list[int]
) -> None:
    late(world, option).orthanc.receive("s")
    world.configure(CT | {"Trigger": "StableSeries", "Send": [{"To": "ARCHIVE", "Late": option}]})
    made = [found(world.store, each) for each in world.look("s-a", "StableSeries").deliveries]
    assert [(each.instances_count, each.renew) for each in made] == [(count, option == "All") for count in counts]


REPORTS = {"Name": "reports at once", "Match": {"Modality": "SR"}, "Send": ["ARCHIVE"]}


def report_sent_before(world: World, report: Mapping[str, object], what: str, trigger: str, option: str) -> None:
    """Its report is at the archive, by the rule `report`; then comes a rule for all of the study."""
    world.orthanc.receive("s", series="b", tags={"Modality": "SR"})
    world.configure(report, CT | {"Send": [{"To": "ARCHIVE", "Late": option}]})
    (made,) = world.look(what, trigger).deliveries
    assert world.store.queue.claim("ARCHIVE", "lease", world.now) is not None
    (sent,) = list_instances(world.orthanc, "Series", "s-b")
    world.store.ledger.add("s", "ARCHIVE", [sent.digest])
    world.store.queue.succeed(found(world.store, made), 1, 0, "Accepted", world.now)


@pytest.mark.parametrize("option", ["New", "All", "Never"])
@pytest.mark.parametrize(
    ("report", "what", "trigger"),
    [
        (REPORTS | {"Trigger": "StableSeries"}, "s-b", "StableSeries"),
        (
            REPORTS | {"Trigger": "StableSeries", "Level": "Study", "Instances": {"Modality": "SR"}},
            "s-b",
            "StableSeries",
        ),
    ],
)
def test_a_study_is_not_late_because_another_rule_sent_a_part_of_it(
    world: World, report: Mapping[str, object], what: str, trigger: str, option: str
) -> None:
    report_sent_before(world, report, what, trigger, option)
    delivery = world.sends()["ARCHIVE"]
    assert (delivery.rule, delivery.instances_count, delivery.renew) == ("all CT", 2, False)


def test_what_comes_after_the_study_is_late_whichever_rule_has_sent_the_study(world: World) -> None:
    rules = [CT | {"Name": name, "Send": [{"To": "ARCHIVE", "Late": "Never"}]} for name in ("first", "second")]
    ended(world.configure(*rules).store, Status.COMPLETED, "s", rule="first")
    world.arrived("ARCHIVE")
    world.orthanc.receive("s")
    assert world.sends() == {}


def test_what_the_rule_says_of_late_ones_counts_more_than_the_destination(world: World) -> None:
    late(world, "Never")
    world.configure(CT | {"Send": [{"To": "ARCHIVE", "Late": "New"}]})
    world.orthanc.receive("s")
    assert world.sends()["ARCHIVE"].instances_count == 1


def test_a_study_that_waits_already_is_not_queued_twice(world: World) -> None:
    assert len(world.configure(CT).look().deliveries) == 2
    world.orthanc.receive("s")
    assert world.look().deliveries == []


def test_a_study_that_failed_is_sent_when_something_new_comes(world: World) -> None:
    world.configure(CT | {"Send": ["ARCHIVE"]})
    ended(world.store, Status.FAILED, "s")
    assert set(world.sends()) == {"ARCHIVE"}


def test_a_late_instance_is_sent_with_its_study_a_moment_after_a_look_at_the_study(world: World) -> None:
    each = CT | {"Name": "each", "Trigger": "NewInstance", "Level": "Study", "Send": ["ARCHIVE"]}
    world.configure(CT | {"Send": ["WORKSTATION"]}, each)
    world.look("s")
    late = world.orthanc.receive("s")
    (made,) = world.look(late, "NewInstance").deliveries
    listed = just_listed(found(world.store, made), world.now, world.listings)
    assert listed is None or late in {instance.id for instance in listed.instances}


def test_a_look_that_sends_nothing_forgets_what_was_listed_before_it(world: World) -> None:
    world.configure(CT | {"Send": ["ARCHIVE"]}).look("s")
    assert world.listings.find("Study", "s") is not None
    world.orthanc.receive("s")
    world.configure(CT | {"Match": {"Modality": "US"}, "Send": ["ARCHIVE"]}).look("s")
    assert world.listings.find("Study", "s") is None


# --- when ------------------------------------------------------------------------------------------------------------


def test_a_delay_gives_the_time_and_the_reason(world: World) -> None:
    delivery = world.configure(CT | {"Send": ["ARCHIVE"], "Delay": "5m"}).sends()["ARCHIVE"]
    assert (delivery.due_at, delivery.reason, delivery.ready) == (MONDAY_NOON + 300, Reason.DELAY, False)


def test_a_closed_window_gives_the_time_and_the_reason(world: World) -> None:
    delivery = world.configure(CT | {"Send": ["ARCHIVE"], "Schedule": "19:00-07:00"}).sends()["ARCHIVE"]
    assert (delivery.due_at, delivery.reason) == (MONDAY_NOON + 7 * HOUR, Reason.WINDOW)


def test_an_open_window_does_not_delay(world: World) -> None:
    delivery = world.configure(CT | {"Send": ["ARCHIVE"], "Schedule": "Mon 11:00-13:00"}).sends()["ARCHIVE"]
    assert (delivery.due_at, delivery.reason) == (MONDAY_NOON, Reason.QUEUED)


def test_rule_and_destination_must_both_be_open(world: World) -> None:
    world.configure(
        CT | {"Send": ["ARCHIVE"], "Schedule": "08:00-20:00"},
        Destinations={"ARCHIVE": {"Modality": "ARCHIVE", "Schedule": "19:00-23:00"}},
    )
    assert world.sends()["ARCHIVE"].due_at == MONDAY_NOON + 7 * HOUR


def test_the_window_is_looked_for_after_the_delay(world: World) -> None:
    world.configure(CT | {"Send": ["ARCHIVE"], "Schedule": "11:00-12:30", "Delay": "1h"})
    assert world.sends()["ARCHIVE"].due_at == MONDAY_NOON + 23 * HOUR


def test_urgent_ignores_schedules(world: World) -> None:
    world.configure(CT | {"Send": ["ARCHIVE"], "Schedule": "19:00-20:00", "Priority": "Urgent"})
    delivery = world.sends()["ARCHIVE"]
    assert (delivery.due_at, delivery.priority, delivery.ready) == (MONDAY_NOON, Priority.URGENT, True)


def test_the_priority_of_the_send_counts_before_the_rule_before_the_destination(world: World) -> None:
    archive = {"ARCHIVE": {"Modality": "ARCHIVE", "Priority": "Low"}}
    for rule, expected in (
        (CT | {"Send": ["ARCHIVE"]}, Priority.LOW),
        (CT | {"Send": ["ARCHIVE"], "Priority": "Normal"}, Priority.NORMAL),
        (CT | {"Send": [{"To": "ARCHIVE", "Priority": "Urgent"}], "Priority": "Normal"}, Priority.URGENT),
    ):
        delivery = world.configure(rule, Destinations=archive).sends()["ARCHIVE"]
        assert delivery.priority is expected
        world.store.queue.cancel(delivery.id, world.now)


def test_a_delivery_keeps_what_its_rule_says_differently(world: World) -> None:
    world.configure(
        CT | {"Send": [{"To": "ARCHIVE", "Associations": 9}]}, Destinations={"ARCHIVE": {"Modality": "ARCHIVE"}}
    )
    delivery = world.sends()["ARCHIVE"]
    assert world.routing is not None
    plain = configured({"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}}).destinations["ARCHIVE"]
    assert world.routing.effective(plain, delivery).associations == 9


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_sending_by_hand_sends_all_now_whatever_the_rules_say(world: World) -> None:
    world.configure(
        CT | {"Match": {"Modality": "MR"}},
        Destinations={"ARCHIVE": {"Modality": "ARCHIVE", "Schedule": "19:00-20:00", "Late": "Never"}},
    )
    world.arrived("ARCHIVE")
    assert world.routing is not None
    (made,) = world.routing.send_now("s", ["ARCHIVE"]).deliveries
    delivery = found(world.store, made)
    assert (delivery.renew, delivery.priority, delivery.due_at) == (True, Priority.URGENT, MONDAY_NOON)
    assert delivery.instances_count == 2


def test_without_patient_data_the_database_holds_none(world: World) -> None:
    world.orthanc.receive("s", tags={"PatientName": "DOE^JANE", "PatientID": "P1"})
    delivery = world.configure(CT, PatientData=False).sends()["ARCHIVE"]
    assert (delivery.patient_name, delivery.patient_id) == ("", "")


# --- altered copies --------------------------------------------------------------------------------------------------

ANONYMIZE = {"Keep": ["StudyDescription"]}
COPIES = {"Name": "copies", "Match": {}, "Anonymize": ANONYMIZE}


def test_a_delivery_knows_how_its_copy_is_altered(world: World) -> None:
    send = [{"To": "ARCHIVE", "Transcode": "1.2.840.10008.1.2.4.80"}, "WORKSTATION"]
    made = world.configure(COPIES | {"Send": send}).sends()
    assert world.routing is not None
    told = {}
    for name, delivery in made.items():
        alteration = world.routing.effective(destination(name), delivery).alteration
        assert alteration is not None
        told[name] = alteration.told()
    assert told["ARCHIVE"] == {"Anonymize": ANONYMIZE, "Transcode": "1.2.840.10008.1.2.4.80"}
    assert told["WORKSTATION"] == {"Anonymize": ANONYMIZE}


@pytest.mark.parametrize("first", [True, False])
def test_who_gets_an_anonymised_copy_gets_no_original_beside_it(world: World, *, first: bool) -> None:
    copies, plain = COPIES | {"Send": ["ARCHIVE"]}, CT
    made = world.configure(*((copies, plain) if first else (plain, copies))).look()
    deliveries = {found(world.store, each).destination: found(world.store, each).rule for each in made.deliveries}
    assert deliveries == {"ARCHIVE": "copies", "WORKSTATION": "all CT"}
    (verdict,) = [each for each in made.verdicts if each["Rule"] == "all CT"]
    why = [{"Destination": "ARCHIVE", "Why": 'The rule "copies" sends anonymized copies there.'}]
    assert verdict["NotSent"] == why


def test_the_other_members_get_the_original(world: World) -> None:
    plain = CT | {"Send": [{"FirstOf": ["ARCHIVE", "WORKSTATION"]}]}
    made = world.configure(plain, COPIES | {"Send": ["ARCHIVE"]}).sends()
    assert {name: each.rule for name, each in made.items()} == {"ARCHIVE": "copies", "WORKSTATION": "all CT"}


def test_a_rule_that_sends_none_of_the_instances_keeps_no_original_away(world: World) -> None:
    none = COPIES | {"Send": ["ARCHIVE"], "Instances": {"InstanceNumber": 99}}
    assert world.configure(none, CT).sends()["ARCHIVE"].rule == "all CT"


@pytest.mark.parametrize(("target", "kept"), [("ARCHIVE", True), ("WORKSTATION", False)])
def test_what_was_anonymous_stays_so_wherever_it_is_sent_again(world: World, target: str, *, kept: bool) -> None:
    send = [{"To": "ARCHIVE", "Transcode": "1.2.840.10008.1.2.4.80"}]
    made = world.configure(COPIES | {"Send": send}).sends()["ARCHIVE"]
    resend = Resend(world.store.queue, world.store.ledger, world.store.failover, lambda: world.now)
    if target == "ARCHIVE":
        assert world.store.queue.cancel(made.id, world.now) is Status.CANCELED
        made = found(world.store, made.id)
    again = resend.resend(made, target, "All")
    assert again is not None
    options = json.loads(found(world.store, again).options)
    assert options["Anonymize"] == ANONYMIZE
    assert ("Send" in options) is kept


# --- FirstOf and OneOf -----------------------------------------------------------------------------------------------

PACS = ("ARCHIVE", "WORKSTATION")
FAILOVER = CT | {"Name": "failover", "Send": [{"FirstOf": [*PACS], "After": "10m", "AndWhenBack": True}]}
BALANCED = CT | {"Name": "balanced", "Send": [{"OneOf": [*PACS], "By": "Patient"}]}


def new_destinations(world: World) -> set[str]:
    return set(world.sends())


def complete(world: World, destination: str) -> None:
    """What waits for the destination arrives."""
    world.store.queue.wake_due(world.now)
    delivery = world.store.queue.claim(destination, destination, world.now)
    assert delivery is not None
    assert world.store.queue.succeed(delivery, 2, 0, "Accepted", world.now)
    world.arrived(destination)


def hand_over(world: World, delivery: Delivery, to: str) -> None:
    """Its destination is unreachable, and the next one gets the study."""
    assert world.store.failover.fail_over(delivery, world.now) is not None
    complete(world, to)


def test_late_instances_go_to_who_took_over_while_the_first_is_waited_for(world: World) -> None:
    waiting = world.configure(FAILOVER).sends()["ARCHIVE"]
    hand_over(world, waiting, "WORKSTATION")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"WORKSTATION"}
    assert found(world.store, waiting.id).status is Status.SCHEDULED, "it takes them along once it is sent"


def test_late_instances_go_to_the_first_too_once_it_is_back_and_has_the_study(world: World) -> None:
    waiting = world.configure(FAILOVER).sends()["ARCHIVE"]
    hand_over(world, waiting, "WORKSTATION")
    complete(world, "ARCHIVE")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"ARCHIVE", "WORKSTATION"}
    complete(world, "ARCHIVE")
    complete(world, "WORKSTATION")
    assert new_destinations(world) == set()


def test_late_instances_go_to_the_first_too_that_is_just_being_sent_the_rest(world: World) -> None:
    hand_over(world, world.configure(FAILOVER).sends()["ARCHIVE"], "WORKSTATION")
    world.store.queue.wake_due(world.now)
    assert world.store.queue.claim("ARCHIVE", "lease", world.now) is not None
    world.orthanc.receive("s")
    assert new_destinations(world) == {"ARCHIVE", "WORKSTATION"}


def test_without_and_when_back_late_instances_go_to_who_took_over_alone(world: World) -> None:
    rule = FAILOVER | {"Send": [{"FirstOf": [*PACS]}]}
    hand_over(world, world.configure(rule).sends()["ARCHIVE"], "WORKSTATION")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"WORKSTATION"}


def test_the_first_that_refused_the_study_for_good_gets_no_late_instances(world: World) -> None:
    world.configure(FAILOVER).look()
    delivery = world.store.queue.claim("ARCHIVE", "lease", world.now)
    assert delivery is not None
    assert world.store.queue.fail(delivery, STRANGER, 0, 0, None, world.now)
    complete(world, "WORKSTATION")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"WORKSTATION"}


def test_where_a_study_was_moved_by_hand_its_late_instances_follow(world: World) -> None:
    waiting = world.configure(FAILOVER).sends()["ARCHIVE"]
    resend = Resend(world.store.queue, world.store.ledger, world.store.failover, lambda: world.now)
    assert resend.resend(waiting, "WORKSTATION", "All") is not None
    complete(world, "WORKSTATION")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"WORKSTATION"}


def test_where_a_study_was_sent_by_hand_as_well_its_late_instances_do_not_follow(world: World) -> None:
    world.configure(FAILOVER).look()
    complete(world, "ARCHIVE")
    (sent,) = world.store.history.ids(Filter())
    resend = Resend(world.store.queue, world.store.ledger, world.store.failover, lambda: world.now)
    assert resend.resend(found(world.store, sent), "WORKSTATION", "All") is not None
    complete(world, "WORKSTATION")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"ARCHIVE"}


def test_what_another_rule_sends_to_a_member_is_no_choice_of_first_of(world: World) -> None:
    night = CT | {"Name": "night", "Send": ["WORKSTATION"], "Delay": "10m"}
    world.configure(night, FAILOVER).look()
    complete(world, "ARCHIVE")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"ARCHIVE"}, "what the other rule sends waits already"


@pytest.mark.parametrize("ended", [True, False])
def test_what_another_rule_sends_to_a_member_is_no_choice_of_one_of(world: World, *, ended: bool) -> None:
    own = by_key(PACS, world.configure(BALANCED).patient())
    other = next(name for name in PACS if name != own)
    world.configure(CT | {"Name": "series", "Trigger": "StableSeries", "Send": [other]}, BALANCED)
    world.look("s-a", "StableSeries")
    if ended:
        complete(world, other)
    assert new_destinations(world) == {own}


def test_one_of_in_turn_keeps_a_study_where_its_turn_took_it(world: World) -> None:
    world.configure(CT | {"Name": "turns", "Send": [{"OneOf": [*PACS]}]}).look()
    (sent,) = world.store.history.ids(Filter())
    where = found(world.store, sent).destination
    complete(world, where)
    for _ in range(2):
        world.orthanc.receive("s")
        assert new_destinations(world) == {where}
        complete(world, where)


def test_a_study_stays_where_it_went_when_its_history_is_forgotten(world: World) -> None:
    world.configure(FAILOVER)
    world.arrived("WORKSTATION")
    world.orthanc.receive("s")
    assert new_destinations(world) == {"WORKSTATION"}


PLAIN = CT | {"Name": "plain", "Send": ["ARCHIVE"]}


@pytest.mark.parametrize("rules", [(PLAIN, FAILOVER), (FAILOVER, PLAIN)])
@pytest.mark.parametrize("also", [True, False])
def test_a_first_of_fails_over_when_another_rule_names_its_member_which_gets_it_too(
    world: World, rules: tuple[Mapping[str, object], ...], *, also: bool
) -> None:
    own = FAILOVER | {"Send": [{"FirstOf": [*PACS], "After": "10m", "AndWhenBack": also}]}
    made = world.configure(*(own if each is FAILOVER else each for each in rules)).sends()
    assert set(made) == {"ARCHIVE"}, "one delivery for both"
    (waiting,) = world.store.failover.due(world.now + 600, [])
    hand_over(world, waiting, "WORKSTATION")
    (taken_over,) = world.store.history.ids(Filter(destination="WORKSTATION"))
    assert found(world.store, taken_over).rule == "failover"
    assert found(world.store, waiting.id).status is Status.SCHEDULED, "the other rule's is still to come"
    world.orthanc.receive("s")
    assert "WORKSTATION" in new_destinations(world)


@pytest.mark.parametrize("rules", [(PLAIN, FAILOVER), (FAILOVER, PLAIN)])
def test_a_first_of_hands_on_what_failed_for_good_for_another_rule_too(
    world: World, rules: tuple[Mapping[str, object], ...]
) -> None:
    world.configure(*rules).look()
    delivery = world.store.queue.claim("ARCHIVE", "lease", world.now)
    assert delivery is not None
    assert world.store.queue.fail(delivery, STRANGER, 0, 0, None, world.now)
    (next_one,) = world.store.history.ids(Filter(destination="WORKSTATION"))
    assert found(world.store, next_one).rule == "failover"


def test_two_first_of_with_the_same_first_fail_over_each_to_its_own_next(world: World) -> None:
    one = CT | {"Name": "one", "Send": [{"FirstOf": ["ARCHIVE", "WORKSTATION"], "After": "10m"}]}
    two = CT | {"Name": "two", "Send": [{"FirstOf": ["ARCHIVE", "CT1"], "After": "10m"}]}
    world.configure(one, two).look()
    for waiting in world.store.failover.due(world.now + 600, []):
        assert world.store.failover.fail_over(waiting, world.now) is not None
    where = {found(world.store, each).destination for each in world.store.history.ids(Filter(statuses=["Scheduled"]))}
    assert where == {"WORKSTATION", "CT1"}


def test_a_first_of_for_the_study_gives_nobody_the_rest_of_the_patient(world: World) -> None:
    patient = PLAIN | {"Level": "Patient"}
    world.configure(patient, FAILOVER).look()
    waiting = world.store.failover.due(world.now + 600, [])
    assert [each.level for each in waiting] == ["Study"]


def test_one_of_in_turn_keeps_a_study_where_another_rule_sends_it_too(world: World) -> None:
    turns = CT | {"Name": "turns", "Send": [{"OneOf": [*PACS]}]}
    world.configure(CT | {"Name": "both", "Send": [*PACS]}, turns).look()
    chosen = [each for each in world.store.history.ids(Filter()) if "turns" in found(world.store, each).options]
    complete(world, "ARCHIVE")
    complete(world, "WORKSTATION")
    for _ in range(3):
        world.orthanc.receive("s")
        world.look()
        complete(world, "ARCHIVE")
        complete(world, "WORKSTATION")
    marked = {
        found(world.store, each).destination
        for each in world.store.history.ids(Filter())
        if "turns" in found(world.store, each).options
    }
    assert marked == {found(world.store, chosen[0]).destination}


@pytest.mark.parametrize("wait", [{"Delay": "2h"}, {"Schedule": "14:00-15:00"}])
def test_after_counts_from_when_the_delivery_is_due(world: World, wait: Mapping[str, object]) -> None:
    delivery = world.configure(FAILOVER | wait).sends()["ARCHIVE"]
    assert (delivery.due_at, delivery.failover_at) == (world.now + 2 * HOUR, world.now + 2 * HOUR + 600)
