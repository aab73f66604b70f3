# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a PostgreSQL database is, read from `postgresql://user:password@host:port/name?option=value`. Pure.

The password is never part of a text about the address: neither of its `str` and `repr`, nor of an error here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEME = "postgresql"
EXAMPLE = "postgresql://user:password@host/database"
LIKE = f'must be like "{EXAMPLE}"'
ESCAPE = "special characters in the name and the password are written as %40 for @, %2F for /, and so on"


@dataclass(frozen=True)
class PostgresAddress:
    """An address; `options` are libpq's own (PostgreSQL's documentation, Connection Strings)."""

    name: str
    host: str = ""  # "" for the socket on this machine
    port: int | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        place = self.host or self.options.get("host") or "this machine"
        return f"PostgreSQL {self.name} on {place}" + (f":{self.port}" if self.port else "")

    def without_password(self, text: str) -> str:
        """A text of somebody else, who may have been careless."""
        return text.replace(self.password, "***") if self.password else text


def is_postgres(url: str) -> bool:
    """It is meant to be the address of a PostgreSQL database."""
    return url.startswith(f"{SCHEME}:")


def read_address(url: str) -> PostgresAddress:
    """The address in a URL. Raises ValueError with a message that says what is wrong, and not what was written."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{LIKE}; {ESCAPE}.") from None
    if parts.scheme != SCHEME or not url.startswith(f"{SCHEME}://") or parts.fragment:
        raise ValueError(f"{LIKE}; {ESCAPE}.")
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name:
        raise ValueError(f"{LIKE}, with the name of one database at its end.")
    options = dict(parse_qsl(parts.query))
    password = unquote(parts.password or "") or options.pop("password", "")
    return PostgresAddress(name, unquote(host), port, unquote(parts.username or ""), password, options)
