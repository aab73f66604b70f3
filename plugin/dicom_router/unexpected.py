# SPDX-License-Identifier: AGPL-3.0-or-later
"""Unexpected errors, told so that their cause can be found and nobody's data are in it."""

import traceback
from pathlib import Path

PACKAGE = Path(__file__).parent
DATABASE = "peewee"  # the module of the database's errors; only the store knows the library itself
WITH_VALUES = {"DataError", "IntegrityError"}  # of these, those that name what a row was to hold


class PlainlyToldError(Exception):
    """An error whose words hold nobody's data."""


def kind_and_place(problem: BaseException) -> str:
    """Its kind and the place in our code; its words only where they are those of Orthanc, the database or the system.

    What any other error says may hold the value that it stumbled over, and what the system says the name of a file.
    """
    kind = type(problem)
    if isinstance(problem, PlainlyToldError) or (kind.__module__ == DATABASE and kind.__name__ not in WITH_VALUES):
        return repr(problem)
    said = f" ({problem.strerror})" if isinstance(problem, OSError) and problem.strerror else ""
    return f"{kind.__name__}{said}{_place(problem)}"


def _place(problem: BaseException) -> str:
    ours = [frame for frame in traceback.extract_tb(problem.__traceback__) if PACKAGE in Path(frame.filename).parents]
    if not ours:
        return ""
    return f" in {Path(ours[-1].filename).relative_to(PACKAGE).as_posix()}, line {ours[-1].lineno}"
