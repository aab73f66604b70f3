# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/openapi.json, made of the endpoints themselves (OpenAPI 3.1)."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from dicom_router import __version__
from dicom_router.api.http import READING, ROOT, Call, Endpoint, Parameter
from dicom_router.api.schemas import ErrorAnswer

SCHEMAS = "#/components/schemas/"


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    answers = {endpoint.answer for endpoint in endpoints if endpoint.answer} | {ErrorAnswer}
    bodies = {endpoint.body for endpoint in endpoints if endpoint.body}
    models: list[tuple[type[BaseModel], Any]] = [(model, "serialization") for model in answers]
    models += [(model, "validation") for model in bodies - answers]
    models.sort(key=lambda each: each[0].__name__)
    _, definitions = models_json_schema(models, ref_template=SCHEMAS + "{model}")
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(ROOT + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "dicom-router", "version": __version__, "license": {"name": "AGPL-3.0-or-later"}},
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {})},
    }


def openapi_endpoint(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The route that tells about all others."""

    def answer(_call: Call) -> dict[str, Any]:
        return made

    own = Endpoint("GET", "/openapi.json", "This document", answer, None)
    made = document([*endpoints, own])
    return own


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    parameters = [_parameter(each, "query") for each in endpoint.query]
    parameters += [_parameter(Parameter(name, ""), "path") for name in endpoint.path_parameters]
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": _responses(endpoint),
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.body)}
    elif endpoint.method not in READING:
        # Orthanc hands on no body of a DELETE; but its type is told, as a change needs it.
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return operation


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    told: dict[str, Any] = {"name": parameter.name, "in": place, "schema": dict(parameter.kind)}
    if parameter.description:
        told["description"] = parameter.description
    return told | ({"required": True} if place == "path" else {})


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    good: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.answer is not None:
        good["content"] = _content(endpoint.answer)
    errors = {*endpoint.errors, 400}
    if endpoint.method != "GET":
        errors |= {403, 415}
    # Orthanc sends the body of an error as text/plain since 1.12.2, without a type before; it is JSON all the same.
    return {"200": good} | {str(status): {"description": "Error"} for status in sorted(errors)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": SCHEMAS + model.__name__}}}
