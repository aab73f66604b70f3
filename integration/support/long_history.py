# SPDX-License-Identifier: AGPL-3.0-or-later
"""A router's database with a history of years, written straight in SQL: in seconds, not by sending."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from dicom_router.store.tallies import RECOUNT

DAYS = 90
STATUSES = ("Completed",) * 90 + ("Warning",) * 4 + ("Failed",) * 4 + ("Canceled",) * 2
DESTINATIONS = ("ARCHIVE", "WORKSTATION", "RESEARCH", "CLOUD")

ROWS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO delivery (status, reason, rule, rule_version, destination, options, level, resource_id, study_id,
  alternates, renew, priority, rank, due_at, ready, cancel_asked, owner, lease, lease_until, study_instance_uid,
  patient_id, patient_name, accession_number, study_date, study_description, modalities, remote_aet, called_aet,
  instances_count, instances_sent, instances_refused, bytes, attempts, created_at, started_at, completed_at,
  verified, error_class, error_scope, error_code, error_message{more})
SELECT s.value, '', 'rule ' || (i % 12), 1, d.value, '{}', 'Study',
  printf('%08x-%08x-%08x-%08x-%08x', i / 4, i / 4, i / 4, i / 4, i / 4),
  printf('%08x-%08x-%08x-%08x-%08x', i / 4, i / 4, i / 4, i / 4, i / 4), '', 0, 'Normal', i, :began + i * :step, 0, 0,
  '', '', 0, '1.2.826.0.1.3680043.8.498.' || (100000000000 + i / 4), 'P' || (i / 12), 'FAMILY' || (i / 12) || '^GIVEN',
  'A' || (i / 4), '20261122', CASE i / 4 % 3 WHEN 0 THEN 'CT Thorax' WHEN 1 THEN 'MR Head' ELSE 'CR Chest' END,
  CASE i / 4 % 3 WHEN 0 THEN 'CT' WHEN 1 THEN 'MR' ELSE 'CR' END, 'MODALITY' || (i % 20), 'ROUTER', 100,
  CASE s.value WHEN 'Failed' THEN 20 WHEN 'Canceled' THEN 0 ELSE 100 END, 0, 52428800, 1, :began + i * :step,
  :began + i * :step + 1, :began + i * :step + 5, 'Accepted', '', '', '', ''{values}
FROM n JOIN json_each(:statuses) s ON s.key = (i * 7919 / 13) % 100 JOIN json_each(:destinations) d ON d.key = i % 4
"""
TEXTS = """
INSERT OR IGNORE INTO study_text (study_id, text)
SELECT study_id, lower(patient_name || char(10) || patient_id || char(10) || accession_number || char(10)
  || study_description || char(10) || study_instance_uid) FROM delivery WHERE id % 4 = 1
"""


def write_long_history(database: Path, count: int = 1_000_000, days: float = DAYS) -> None:
    """`count` deliveries that ended, evenly over the last days. The router must not run."""
    with closing(sqlite3.connect(database)) as connection, connection:
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'delivery' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:  # made anew afterwards, which is several times faster
            connection.execute(f"DROP INDEX {name}")
        seconds = days * 86400
        values = {
            "count": count,
            "began": time.time() - seconds - 10,
            "step": seconds / count,
            "statuses": _json(STATUSES),
            "destinations": _json(DESTINATIONS),
        }
        more = _others(connection)
        statement = ROWS.replace("{more}", "".join(f", {name}" for name in more))
        connection.execute(statement.replace("{values}", "".join(f", {value}" for value in more.values())), values)
        connection.execute(TEXTS)
        for statement in RECOUNT:
            connection.execute(statement)
        for _, sql in indexes:
            connection.execute(sql)


def _others(connection: sqlite3.Connection) -> dict[str, str]:
    """The columns that the statement does not name and that must have a value, each with an empty one."""
    named = set(
        ROWS[ROWS.index("(status") : ROWS.index("{more}")].strip("(").replace("\n", " ").replace(",", " ").split()
    )
    columns = connection.execute("PRAGMA table_info(delivery)").fetchall()
    return {
        name: "''" if kind == "TEXT" else "0"
        for _, name, kind, needed, default, key in columns
        if needed and default is None and not key and name not in named
    }


def _json(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
