# SPDX-License-Identifier: AGPL-3.0-or-later
"""The address of a PostgreSQL database: read, refused with a hint, and never telling its password."""

import pytest

from builders import configured
from dicom_router.config import Neighbours, parse
from dicom_router.postgres_address import PostgresAddress, read_address

SECRET = "s3cret"


def test_an_address_is_read() -> None:
    address = read_address(f"postgresql://router:{SECRET}@db.example:5433/routing?sslmode=require")
    assert address == PostgresAddress("routing", "db.example", 5433, "router", SECRET, {"sslmode": "require"})
    assert str(address) == "PostgreSQL routing on db.example:5433"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///routing", PostgresAddress("routing")),
        ("postgresql:///routing?host=/run/pg", PostgresAddress("routing", options={"host": "/run/pg"})),
        ("postgresql://u:p%40ss%2Fw%25@h/d", PostgresAddress("d", "h", None, "u", "p@ss/w%")),
        ("postgresql://u@h/d?password=x", PostgresAddress("d", "h", None, "u", "x")),
        ("postgresql://[::1]:5432/d", PostgresAddress("d", "::1", 5432)),
    ],
)
def test_what_libpq_takes_is_taken(url: str, expected: PostgresAddress) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}/w@h/d",
        f"postgresql://u:{SECRET}#w@h/d",
        f"postgresql://u:{SECRET}@h",
        f"postgresql://u:{SECRET}@h/",
        f"postgresql://u:{SECRET}@h:port/d",
        f"postgresql:u:{SECRET}@h/d",
        f"postgres://u:{SECRET}@h/d",
    ],
)
def test_what_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    _, problems = parse({"Database": url}, Neighbours())
    (problem,) = problems
    assert problem.path == "Router.Database"
    assert "postgresql://user:password@host/database" in problem.message
    assert SECRET not in problem.message


def test_the_password_is_in_no_text_about_the_address() -> None:
    address = read_address(f"postgresql://u:{SECRET}@h/d")
    assert SECRET not in f"{address} {address!r}"
    assert address.without_password(f"no access for u with {SECRET}") == "no access for u with ***"


def test_the_configuration_takes_an_address() -> None:
    assert configured({"Database": f"postgresql://u:{SECRET}@h/d"}).database.endswith("@h/d")
