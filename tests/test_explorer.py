# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router in Orthanc Explorer: what is registered, and the buttons for Orthanc Explorer 2 in the documentation."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from jsonschema import Draft202012Validator

from builders import configured
from dicom_router.host import explorer
from dicom_router.host.sdk import OrthancHost
from dicom_router.store.store import Store
from fakes.sdk import Sdk, Sdk50
from rest_client import Client

REPOSITORY = Path(__file__).parents[1]
WEB = REPOSITORY / "plugin" / "web"


class LaterSdk(Sdk50):
    """One that has only the functions that take the plugin's name (Orthanc 1.12.4)."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"SetRootUri", "ExtendOrthancExplorer"}:
            raise AttributeError(name)
        return super().__getattribute__(name)

    def SetRootUri2(self, plugin: str, uri: str) -> None:  # noqa: N802
        self.plugin[f"{plugin} RootUri"] = uri

    def ExtendOrthancExplorer2(self, plugin: str, script: str) -> None:  # noqa: N802
        self.plugin[f"{plugin} OrthancExplorer"] = script


class BareSdk(LaterSdk):
    """One that has none of them."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"SetRootUri2", "ExtendOrthancExplorer2"}:
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_the_script_and_the_address_of_the_page_are_registered() -> None:
    sdk = Sdk()
    explorer.extend(OrthancHost(sdk), WEB)
    assert sdk.plugin["RootUri"] == "/router/ui/"
    assert "Route to…" in sdk.plugin["OrthancExplorer"]


def test_where_orthanc_wants_the_name_of_the_plugin_it_gets_it() -> None:
    sdk = LaterSdk()
    explorer.extend(OrthancHost(sdk), WEB)
    assert sdk.plugin.keys() == {"python RootUri", "python OrthancExplorer"}


def test_an_orthanc_that_cannot_be_extended_is_left_alone() -> None:
    sdk = BareSdk()
    explorer.extend(OrthancHost(sdk), WEB)
    assert sdk.plugin == {}


def test_without_the_file_the_router_works_and_the_log_says_so(tmp_path: Path) -> None:
    sdk = Sdk()
    explorer.extend(OrthancHost(sdk), tmp_path)
    assert "OrthancExplorer" not in sdk.plugin
    assert [level for level, line in sdk.log if "Orthanc Explorer" in line] == ["W"]


def test_an_orthanc_that_refuses_the_extension_routes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = Sdk()

    def refuse(_uri: str) -> None:
        raise sdk.OrthancException(1, "Not implemented yet")

    monkeypatch.setattr(sdk, "SetRootUri", refuse)
    explorer.extend(OrthancHost(sdk), WEB)
    assert [level for level, line in sdk.log if "Not implemented yet" in line] == ["W"]


def test_the_script_never_makes_html_of_a_value() -> None:
    text = (WEB / explorer.SCRIPT).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\.html\(|document\.write|eval\(", text)
    # What jQuery reads as HTML when it is a text: only fixed tags.
    assert {found[0] for found in re.finditer(r"\$\('(?!#)[^']*", text)} <= {
        f"$('<{tag}>" for tag in ("a", "div", "p", "span", "strong", "table", "tbody", "td", "time", "tr")
    }
    assert not re.search(r"(append|prepend|before|after|wrap)\('[^' ]", text)


# --- Orthanc Explorer 2 ----------------------------------------------------------------------------------------------

# The keys and the values that Orthanc Explorer 2 knows, by its release notes (1.8.0, 1.9.2) and its own configuration.
BUTTON = {
    "type": "object",
    "additionalProperties": False,
    "required": ["HttpMethod", "Id", "Tooltip", "Icon", "Url"],
    "properties": {
        "HttpMethod": {"enum": ["GET", "POST", "PUT", "DELETE"]},
        "Id": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "Tooltip": {"type": "string", "minLength": 1},
        "Icon": {"type": "string", "pattern": "^bi bi-[a-z0-9-]+$"},
        "Url": {"type": "string", "pattern": r"^\.\./\.\./router/"},
        "Target": {"enum": ["_blank", "_self"]},
        "Payload": {"type": "object"},
        "Refresh": {"type": "boolean"},
        "StartMessage": {"type": "string"},
    },
}
CUSTOM_BUTTONS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        level: {"type": "array", "items": BUTTON} for level in ("study", "series", "instance", "bulk-studies")
    },
}
STUDY = "6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b715"


def buttons() -> dict[str, Any]:
    page = (REPOSITORY / "docs" / "orthanc-explorer.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```jsonc\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = json.loads(block)["OrthancExplorer2"]["UiOptions"]["CustomButtons"]
    return found


def test_the_buttons_of_the_documentation_are_what_orthanc_explorer_2_reads() -> None:
    Draft202012Validator(CUSTOM_BUTTONS).validate(buttons())
    assert buttons()["study"]


@pytest.mark.parametrize(
    "button", [each for found in buttons().values() for each in found], ids=lambda each: each["Id"]
)
def test_each_button_asks_for_what_the_router_answers(store: Store, button: dict[str, Any]) -> None:
    client = Client(store, configured({}))
    path = urljoin("http://orthanc/ui/app/", button["Url"].replace("{UUID}", STUDY)).removeprefix("http://orthanc")
    if button["HttpMethod"] == "GET":
        assert path.startswith("/router/ui/")
        return
    endpoint = client.endpoint(button["HttpMethod"], path.removeprefix("/router"))
    assert endpoint is not None
    assert endpoint.body is not None
    endpoint.body.model_validate(button.get("Payload", {}))
