# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long it takes to decide for one study of ten series, by the number of rules. CPU time, best of several."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from dicom_router.config import Neighbours, RuleParser
from dicom_router.rules.decision import decide
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.rule import Rule

COUNTS = (10, 100, 1000, 10_000)
LIMIT_MS = 5.0  # for 1,000 rules
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODALITIES = ("CT", "MR", "US", "CR", "DX", "MG", "NM", "PT", "XA", "SR")
STUDY = TagFacts(
    {
        "Modality": ["CT"] * 9 + ["SR"],
        "SeriesDescription": [f"series {number} axial" for number in range(10)],
        "StudyDescription": "CT HEAD WITHOUT CONTRAST",
        "StudyDate": "20261122",
        "RemoteAET": ["SCANNER7"] * 2000,
        "InstitutionName": "General",
        "InstancesCount": "2000",
        "PatientAge": "045Y",
    }
)


def match(number: int) -> dict[str, Any]:
    """Rules as a large site has them: by modality, sender, description, age; one in a hundred matches."""
    kinds: tuple[dict[str, Any], ...] = (
        {"Modality": MODALITIES[number % 10], "StudyDescription": {"Contains": f"PART {number}"}},
        {"RemoteAET": f"SCANNER{number}", "Modality": ["CT", "MR"]},
        {"StudyDescription": {"StartsWith": "CT", "Contains": f"KNEE {number}", "IgnoreCase": True}},
        {"Any": [{"Modality": "MG"}, {"SeriesDescription": {"Regex": f"protocol {number}$"}}]},
        {"PatientAgeYears": {"Lt": 18}, "InstitutionName": {"NotIn": ["A", "B"]}},
        {"StudyDate": {"NewerThan": "7d"}, "InstancesCount": {"Gt": 3000}},
    )
    return {"Modality": "CT", "StudyDate": {"Ge": "20200101"}} if number % 100 == 0 else kinds[number % len(kinds)]


def rules(count: int) -> list[Rule]:
    """So many, all different."""
    parser = RuleParser(Neighbours({"ARCHIVE": "ARCHIVE"}), {})
    made = [
        parser.rule({"Name": f"rule {number}", "Match": match(number), "Send": ["ARCHIVE"]}, "")
        for number in range(count)
    ]
    assert parser.problems == []
    return [rule for rule in made if rule is not None]


def milliseconds(count: int, rounds: int) -> float:
    """The CPU time of one decision."""
    made = rules(count)
    times = []
    for _ in range(rounds):
        began = time.process_time()
        decide(made, STUDY, NOW)
        times.append(time.process_time() - began)
    return min(times) * 1000


def measure(counts: Sequence[int] = COUNTS) -> list[dict[str, Any]]:
    """One row for each number of rules, for small and large studies alike: facts are given."""
    found = {count: milliseconds(count, 3 if count > 1000 else 20) for count in counts}
    return [
        {"Rules": count, "CpuMs": round(spent, 3), "MicrosecondsPerRule": round(1000 * spent / count, 2)}
        for count, spent in found.items()
    ]


def main() -> None:
    """Print the table; exit 1 when 1,000 rules take longer than they should."""
    for row in measure():
        print(json.dumps(row))
        if row["Rules"] == 1000 and row["CpuMs"] > LIMIT_MS:
            raise SystemExit(f"1,000 rules take more than {LIMIT_MS} ms.")


if __name__ == "__main__":
    main()
