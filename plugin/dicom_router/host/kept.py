# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was given to Orthanc, kept until the interpreter ends.

At Orthanc's stop the Python plugin lets go of its callbacks without holding the interpreter (Plugin.cpp,
OrthancPluginFinalize). Where its reference is the last one, Python 3.12 and later crash: Orthanc ends with SIGSEGV.
"""

from collections.abc import Callable
from typing import Any, TypeVar

AnyCallback = TypeVar("AnyCallback", bound=Callable[..., Any])

_kept: list[Callable[..., Any]] = []


def keep(callback: AnyCallback) -> AnyCallback:
    """For every callback that Orthanc gets."""
    _kept.append(callback)
    return callback
