# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `make run` installs; make says it and does nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ASKED_FOR = ("Makefile", "setup.cfg", "pyproject.toml", "package-lock.json", ".ci/vendor-web-modules")
POSTGRESQL = "postgresql://router:secret@127.0.0.1/router"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ASKED_FOR:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    pip = tmp_path / ".venv/bin/pip"
    pip.parent.mkdir(parents=True)
    pip.touch()
    return tmp_path


def planned(checkout: Path, database: str = "") -> list[str]:
    """The installations that `make run` would do."""
    environment = {"PATH": os.environ["PATH"], "ROUTER_DATABASE": database}
    done = subprocess.run(
        ["make", "--dry-run", "run"], cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    return [line.split("--editable ")[1] for line in done.stdout.splitlines() if "--editable" in line]


def test_run_installs_the_driver_of_postgresql_for_a_database_there_only(checkout: Path) -> None:
    assert planned(checkout) == ["'.'"]
    assert planned(checkout, "sqlite:///run/router.db") == ["'.'"]
    assert planned(checkout, POSTGRESQL) == ["'.[postgres]'"]


def test_run_with_postgresql_installs_the_driver_also_after_a_run_without(checkout: Path) -> None:
    (checkout / ".venv/.run-ready").touch()
    assert planned(checkout) == []
    assert planned(checkout, POSTGRESQL) == ["'.[postgres]'"]


def test_run_installs_nothing_more_after_the_tests(checkout: Path) -> None:
    for name in (".tests-ready", ".run-ready", ".run-ready-postgres"):
        (checkout / ".venv" / name).touch()
    assert planned(checkout) == []
    assert planned(checkout, POSTGRESQL) == []
