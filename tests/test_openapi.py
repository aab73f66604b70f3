# SPDX-License-Identifier: AGPL-3.0-or-later
"""openapi.json says what the code does. That each answer keeps to it is held by `Client` in test_api.py."""

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from builders import configured
from dicom_router.api.http import ROOT
from dicom_router.store.store import Store
from rest_client import Client

METHODS = {"get", "post", "put", "delete"}


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store, configured({}))


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method.upper(), path): told for path, each in document["paths"].items() for method, told in each.items()}


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_every_endpoint_of_the_code_is_in_the_document_and_the_reverse(client: Client) -> None:
    in_code = {(each.method, ROOT + each.path) for each in client.api.endpoints}
    assert len(in_code) == len(client.api.endpoints)
    assert set(operations(client.document)) == in_code


def test_the_document_is_openapi_3_1(client: Client) -> None:
    document = client.document
    assert document["openapi"].startswith("3.1.")
    assert set(document) <= {"openapi", "info", "servers", "paths", "components", "security", "tags"}
    assert {"title", "version"} <= set(document["info"])
    for path, methods in document["paths"].items():
        assert path.startswith("/router/")
        assert set(methods) <= METHODS
    for told in operations(document).values():
        assert set(told) <= {"summary", "description", "parameters", "responses", "requestBody", "operationId", "tags"}
        assert told["summary"]
        assert "200" in told["responses"]
        for status, response in told["responses"].items():
            assert re.fullmatch(r"[2-5]\d\d", status)
            assert response["description"]


def test_every_schema_is_valid_and_every_reference_leads_somewhere(client: Client) -> None:
    schemas = client.document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    wanted = {each.removeprefix("#/components/schemas/") for each in references(client.document)}
    assert wanted <= set(schemas)


def test_every_schema_is_used(client: Client) -> None:
    wanted = {each.removeprefix("#/components/schemas/") for each in references(client.document)}
    assert set(client.document["components"]["schemas"]) - {"ErrorAnswer"} <= wanted


def test_the_parameters_of_a_path_are_told_and_required(client: Client) -> None:
    for (_, path), told in operations(client.document).items():
        in_path = [each for each in told["parameters"] if each["in"] == "path"]
        assert sorted(each["name"] for each in in_path) == sorted(re.findall(r"\{(\w+)\}", path))
        assert all(each["required"] for each in in_path)
        for each in told["parameters"]:
            assert each["in"] in {"path", "query"}
            Draft202012Validator.check_schema(each["schema"])


def test_changes_tell_of_the_guard_and_have_a_body(client: Client) -> None:
    for (method, path), told in operations(client.document).items():
        assert ("415" in told["responses"]) == (method != "GET"), path
        if method in {"POST", "PUT"}:
            assert "application/json" in told["requestBody"]["content"], path
        if method == "GET":
            assert "requestBody" not in told


def test_names_are_written_as_orthanc_writes_them(client: Client) -> None:
    for name, schema in client.document["components"]["schemas"].items():
        for key in schema.get("properties", {}):
            assert re.fullmatch(r"[A-Z][A-Za-z]*", key), f"{name}.{key}"


def test_the_filters_of_the_history_are_those_of_its_bulk_changes(client: Client) -> None:
    query = {each["name"] for each in operations(client.document)["GET", "/router/history"]["parameters"]}
    body = client.document["components"]["schemas"]["FilterBody"]["properties"]
    assert {key.lower() for key in body} == query - {"limit", "cursor"}
