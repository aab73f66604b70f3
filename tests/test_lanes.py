# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who gets the next lane."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dicom_router.dispatch.lanes import Candidate, next_destination


def candidate(name: str, **changes: object) -> Candidate:
    return replace(Candidate(name, 0, 2, False, 0.0), **changes)  # type: ignore[arg-type]


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=st.sampled_from("ABCDE"),
        in_flight=st.integers(0, 5),
        associations=st.integers(1, 5),
        urgent=st.booleans(),
        served_at=st.floats(0, 100),
    ),
    max_size=5,
    unique_by=lambda each: each.name,
)


def test_without_a_lane_or_a_candidate_nobody_is_next() -> None:
    assert next_destination([candidate("A")], 0) is None
    assert next_destination([], 5) is None


def test_a_destination_has_at_most_its_associations() -> None:
    assert next_destination([candidate("A", in_flight=2, associations=2)], 5) is None


def test_urgent_goes_first() -> None:
    busy = candidate("B", urgent=True, in_flight=1, served_at=99.0)
    assert next_destination([candidate("A"), busy], 1) == "B"


def test_who_has_the_fewest_lanes_goes_first() -> None:
    assert next_destination([candidate("A", in_flight=1), candidate("B", served_at=50.0)], 1) == "B"


def test_among_equals_who_waited_longest_goes_first() -> None:
    assert next_destination([candidate("A", served_at=2.0), candidate("B", served_at=1.0)], 1) == "B"


@given(CANDIDATES, st.integers(-1, 10))
def test_the_next_is_able_and_urgent_if_any_able_one_is(candidates: list[Candidate], free: int) -> None:
    chosen = next_destination(candidates, free)
    able = {each.name: each for each in candidates if each.in_flight < each.associations}
    if free <= 0 or not able:
        assert chosen is None
        return
    assert chosen in able
    assert able[chosen].urgent or not any(each.urgent for each in able.values())


@given(st.integers(2, 6), st.integers(1, 12), st.integers(2, 4))
def test_lanes_are_shared_evenly(destinations: int, lanes: int, associations: int) -> None:
    given_to: Counter[str] = Counter()
    served: dict[str, float] = {}
    for turn in range(lanes):
        candidates = [
            Candidate(str(name), given_to[str(name)], associations, False, served.get(str(name), -1.0))
            for name in range(destinations)
        ]
        chosen = next_destination(candidates, lanes - sum(given_to.values()))
        if chosen is None:
            break
        given_to[chosen] += 1
        served[chosen] = float(turn)
    counts = [given_to[str(name)] for name in range(destinations)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == min(lanes, destinations * associations)
