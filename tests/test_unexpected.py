# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the log tells of an error that nobody expected."""

import re
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest

from dicom_router.orthanc_rest import OrthancError
from dicom_router.unexpected import kind_and_place
from dicom_router.whole_numbers import whole_number

NAME = "DOE^JANE"


def met(work: Callable[[], object]) -> str:
    with pytest.raises(Exception) as problem:  # noqa: PT011 - of any kind
        work()
    return kind_and_place(problem.value)


def test_the_place_is_told_and_not_the_value() -> None:
    assert re.fullmatch(r"\w+Error in whole_numbers\.py, line \d+", met(lambda: whole_number([NAME])))  # type: ignore[arg-type]


def test_what_the_system_says_is_told_without_the_name_of_the_file(tmp_path: Path) -> None:
    assert met((tmp_path / NAME).read_bytes) == "FileNotFoundError (No such file or directory)"


@pytest.mark.parametrize("kind", [peewee.DataError, peewee.IntegrityError])
def test_what_the_database_says_of_a_row_is_not_told(kind: type[Exception]) -> None:
    assert kind_and_place(kind(f'invalid input syntax for type integer: "{NAME}"')) == kind.__name__


def test_what_the_database_and_orthanc_say_is_told() -> None:
    assert "disk I/O error" in kind_and_place(peewee.OperationalError("disk I/O error"))
    assert "The database is busy." in kind_and_place(OrthancError(503, 17, "The database is busy."))
