# SPDX-License-Identifier: AGPL-3.0-or-later
"""Into Orthanc, whatever happens: an exception while the script is imported would keep Orthanc from starting.

This file and what it imports use nothing but the standard library, so that it can tell which package is missing.
"""

import json
import site
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_router import __version__
from dicom_router.host.kept import keep

ROUTES = "/router(/.*)?"
# /router/status of a router that could not be loaded (see api/schemas.py, which needs the packages).
NOTHING_RUNS: dict[str, Any] = {
    "Version": __version__,
    "State": "Suspended",
    "Problems": [],
    "Warnings": [],
    "Queue": {"Scheduled": 0, "Sending": 0, "Retrying": 0},
    "OldestWaiting": None,
    "Cursor": None,
    "Database": "",
    "Orthanc": "",
    "PausedBy": "",
}
ChangeCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Installed:
    """What a script gets that composes the router with its own callbacks."""

    on_change: ChangeCallback


def install(orthanc: Any, *, register: bool) -> Installed:
    """See dicom_router.install."""
    _find_packages()
    try:
        on_change = _start(orthanc)
    except Exception as problem:  # noqa: BLE001 - Orthanc must start and receive
        on_change = _explain(orthanc, problem)
    if register:
        orthanc.RegisterOnChangeCallback(on_change)
    return Installed(on_change)


def _start(orthanc: Any) -> ChangeCallback:
    from dicom_router.app import Router  # noqa: PLC0415 - needs the packages
    from dicom_router.host.sdk import OrthancHost  # noqa: PLC0415

    host = OrthancHost(orthanc)
    router = Router(host)
    host.listen(ROUTES, router.handle)
    return host.change_listener(router.on_change)


def _find_packages() -> None:
    """Use the virtual environment beside the checkout, if there is one for this very Python."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(__file__).parents[2] / ".venv" / "lib" / version / "site-packages"
    if packages.is_dir():
        site.addsitedir(str(packages))


def _explain(orthanc: Any, problem: Exception) -> ChangeCallback:
    """Routing is suspended: say why, in the log and where people look."""
    if isinstance(problem, ModuleNotFoundError):
        python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        message = (
            f'The Python package "{problem.name}" is missing. Install the packages of dicom-router for the {python} '
            "that Orthanc uses (see README.md, Adding it to an existing Orthanc), then restart Orthanc."
        )
    else:
        message = f"dicom-router could not be loaded: {problem!r}"
    orthanc.LogError(f"dicom-router: routing is suspended. {message}")
    loaded_at = time.time()
    problems = [{"Path": "Router", "Message": message}]
    status = json.dumps(NOTHING_RUNS | {"Problems": problems})

    def answer(output: Any, _uri: str, **_request: Any) -> None:
        output.AnswerBuffer(status, "application/json")

    def on_change(change: int, _level: int, _resource: str) -> None:
        """Nothing runs; what arrives from now on is routed after the next start that works."""
        if change == orthanc.ChangeType.ORTHANC_STARTED:
            _remember_first_start(orthanc, loaded_at)

    orthanc.RegisterRestCallback("/router/status", keep(answer))
    return keep(on_change)


def _remember_first_start(orthanc: Any, loaded_at: float) -> None:
    """Should this be the very first start, the router begins here once it can; else its own database knows better."""
    from dicom_router.host.global_properties import FIRST_START  # noqa: PLC0415 - see above
    from dicom_router.intake.first_start import first_place  # noqa: PLC0415 - see above

    try:
        if not orthanc.GetGlobalProperty(FIRST_START, ""):
            place = first_place(lambda path: json.loads(orthanc.RestApiGet(path)), loaded_at, time.time())
            orthanc.SetGlobalProperty(FIRST_START, str(place))
    except Exception as problem:  # noqa: BLE001 - nothing may be raised into Orthanc
        orthanc.LogError(f"dicom-router: where routing should begin could not be kept: {problem!r}")
