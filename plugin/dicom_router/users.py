# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks: the name that Orthanc itself has checked."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

LONGEST_NAME = 64


def checks_users(orthanc: Mapping[str, Any]) -> bool:
    """Whether Orthanc asks for a name and a password, given its configuration.

    Where nothing is said it does when it can be reached from elsewhere (orthanc: main.cpp).
    """
    return bool(orthanc.get("AuthenticationEnabled", orthanc.get("RemoteAccessAllowed", False)))


def user_of(headers: Mapping[str, str]) -> str:
    """The name in an `Authorization` of HTTP's basic kind; empty for any other. Only to be believed once checked."""
    kind, _, told = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        name = base64.b64decode(told.strip(), validate=True).decode("utf-8", "replace").partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
    return "".join(each for each in name if each.isprintable())[:LONGEST_NAME]


def by(user: str) -> str:
    """Who did it, for people."""
    return f"by {user}" if user else "by hand"
