# SPDX-License-Identifier: AGPL-3.0-or-later
"""Into Orthanc, whatever happens."""

import builtins
import gc
import weakref
from typing import Any

import pytest

import dicom_router
from dicom_router.api.schemas import StatusAnswer
from dicom_router.installation import ROUTES
from fakes.sdk import VERSIONS, ChangeType, Sdk


@pytest.fixture(params=VERSIONS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    kind, output = VERSIONS[request.param]
    return kind({}, output)


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were not installed for this Python: whatever needs it cannot be imported."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "dicom_router.app":
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.parametrize("package", ["pydantic", "peewee", "croniter", "urllib3"])
def test_a_missing_package_suspends_routing_and_says_which(
    sdk: Sdk, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(package, monkeypatch)
    installed = dicom_router.install(sdk)
    assert any(level == "E" and f'"{package}"' in line for level, line in sdk.log)
    told = sdk.request("/router/status", "/router/status").json
    assert {*told} == {field.alias for field in StatusAnswer.model_fields.values()}
    assert told["State"] == "Suspended"
    assert [each["Path"] for each in told["Problems"]] == ["Router"]
    assert package in told["Problems"][0]["Message"]
    assert set(told) >= {"State", "Problems", "Warnings"}
    for change in (ChangeType.ORTHANC_STARTED, ChangeType.STABLE_STUDY, ChangeType.ORTHANC_STOPPED):
        sdk.changed(change, "id")
        installed.on_change(change, 1, "id")


def test_any_other_error_at_the_start_suspends_routing_too(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("no configuration")

    monkeypatch.setattr(sdk, "GetConfiguration", broken)
    dicom_router.install(sdk)
    told = sdk.request("/router/status", "/router/status").json
    assert "no configuration" in told["Problems"][0]["Message"]


def test_it_hears_of_changes_and_answers_below_router(sdk: Sdk) -> None:
    dicom_router.install(sdk)
    assert len(sdk.on_change) == 1
    assert list(sdk.routes) == [ROUTES]


def orthanc_lets_go(sdk: Sdk) -> list[Any]:
    """The callbacks as they are found after Orthanc has dropped its references to them, and nobody else has one."""
    callbacks = [weakref.ref(callback) for callback in (*sdk.routes.values(), *sdk.on_change)]
    sdk.routes.clear()
    sdk.on_change.clear()
    gc.collect()
    return [callback() for callback in callbacks]


def test_no_callback_ends_with_orthancs_reference_to_it(sdk: Sdk) -> None:
    """The plugin lets go of them without the interpreter: freeing one then ends Orthanc with SIGSEGV on Python 3.12."""
    dicom_router.install(sdk)
    left = orthanc_lets_go(sdk)
    assert len(left) == 2
    assert None not in left


def test_nor_does_one_of_a_router_that_could_not_be_loaded(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    hide("pydantic", monkeypatch)
    dicom_router.install(sdk)
    left = orthanc_lets_go(sdk)
    assert len(left) == 2
    assert None not in left


def test_a_script_that_has_a_callback_of_its_own_composes(sdk: Sdk) -> None:
    heard: list[int] = []
    router = dicom_router.install(sdk, register=False)
    assert sdk.on_change == []

    def own(change: int, level: int, resource: str) -> None:
        heard.append(change)
        router.on_change(change, level, resource)

    sdk.RegisterOnChangeCallback(own)
    sdk.changed(ChangeType.STABLE_STUDY, "id")
    assert heard == [ChangeType.STABLE_STUDY]


def test_a_wrong_configuration_installs_and_explains(sdk: Sdk, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Orthanc starts: the router opens its database, does not route, and says why."""
    sdk._configuration = {"Router": {"Rulez": []}, "IndexDirectory": str(tmp_path), "HttpServerEnabled": False}
    sdk.rest = {"/system": {"Version": "1.10.1"}, "/changes?last": {"Changes": [], "Done": True, "Last": 12}}
    monkeypatch.delenv("ROUTER_DATABASE", raising=False)
    dicom_router.install(sdk)
    sdk.changed(ChangeType.ORTHANC_STARTED)
    told = sdk.request(ROUTES, "/router/status").json
    sdk.changed(ChangeType.ORTHANC_STOPPED)
    assert told["State"] == "Suspended"
    assert told["Problems"] == [{"Path": "Router.Rulez", "Message": 'Unknown key "Rulez". Did you mean "Rules"?'}]
    assert told["Cursor"] == 12
    assert [line for level, line in sdk.log if level == "E" and "Router.Rulez" in line]
