# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests to endpoints: matching the path, reading the query and the body, guarding changes, answering errors."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from dicom_router.api.json_body import read_json
from dicom_router.api.schemas import ErrorAnswer
from dicom_router.host.sdk import Request, Response
from dicom_router.problems import Problem
from dicom_router.store.database import LOST

ROOT = "/router"
READING = frozenset({"GET"})
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
ORTHANC_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class HttpError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = problems


def not_found(what: str) -> HttpError:
    """404."""
    return HttpError(404, f"There is no {what}.")


def orthanc_id(text: str, what: str) -> str:
    """An ID as Orthanc makes them; 404 for anything else: it becomes part of a path of Orthanc's own REST API."""
    if not ORTHANC_ID.fullmatch(text):
        raise not_found(f'{what} "{text[:64]}"')
    return text


@dataclass(frozen=True)
class Call:
    """A request whose path, query and body have been read; `user` as in Request."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    user: str = ""


@dataclass(frozen=True)
class Parameter:
    """A part of the query or the path. `kind` is a JSON schema."""

    name: str
    description: str
    kind: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Endpoint:
    """A route: what it takes, what it answers, and who handles it. `path` is below /router, with {names}."""

    method: str
    path: str
    summary: str
    handler: Callable[[Call], object]
    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    query: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()

    @property
    def pattern(self) -> re.Pattern[str]:
        """The whole path as a regular expression."""
        return re.compile(ROOT + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    @property
    def path_parameters(self) -> list[str]:
        """The names in the path."""
        return re.findall(r"\{(\w+)\}", self.path)


class Api:
    """All endpoints."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._patterns = [(endpoint.pattern, endpoint) for endpoint in endpoints]

    def handle(self, request: Request) -> Response:
        """Answer a request; errors of the caller become 4xx. Anything else raised is a mistake of ours."""
        try:
            endpoint, path = self._find(request)
            if request.method not in READING:
                _guard(request)
            call = Call(path, _query(endpoint, request), _body(endpoint, request), request.user)
            answer = endpoint.handler(call)
        except HttpError as error:
            return error_response(error)
        except LOST as problem:
            return error_response(HttpError(503, f"The router's database does not answer now: {problem}"))
        return answer if isinstance(answer, Response) else json_response(answer)

    def _find(self, request: Request) -> tuple[Endpoint, dict[str, str]]:
        matching = [
            (endpoint, found) for pattern, endpoint in self._patterns if (found := pattern.fullmatch(request.path))
        ]
        for endpoint, found in matching:
            if endpoint.method == request.method:
                return endpoint, found.groupdict()  # Orthanc has decoded the path
        if matching:
            # Not 405: Orthanc sends that with a text of its own only (HttpOutput.cpp, SendMethodNotAllowed).
            methods = ", ".join(sorted({endpoint.method for endpoint, _ in matching}))
            raise HttpError(400, f"{request.path} takes {methods}, not {request.method}.")
        raise HttpError(404, f"There is nothing at {request.path}; see {ROOT}/openapi.json.")


def _guard(request: Request) -> None:
    """A page of another origin cannot send this type unasked; Orthanc has no other guard (its Book, Security)."""
    # Orthanc hands on each part of a form with the part's own headers (HttpServer.cpp, multipart/form-data).
    if "content-disposition" in request.headers:
        raise HttpError(415, "A change cannot be a part of a form.")
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise HttpError(415, "A change needs the header Content-Type: application/json.")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise HttpError(403, "A change must come from the router's own pages or from a program.")


def _query(endpoint: Endpoint, request: Request) -> dict[str, str]:
    known = {parameter.name for parameter in endpoint.query}
    unknown = [name for name in request.query if name and name not in known]
    if unknown and request.method == "GET":
        legal = ", ".join(sorted(known)) or "none"
        problems = [Problem(name, f"Unknown parameter; legal are: {legal}.") for name in unknown]
        raise HttpError(400, "The query has unknown parameters.", problems)
    return {name: value for name, value in request.query.items() if value != ""}


def _body(endpoint: Endpoint, request: Request) -> Any:
    if request.method in READING:
        return None
    try:
        value = read_json(request.body or b"{}")
    except ValueError as wrong:
        raise HttpError(400, f"The body is not JSON: {wrong}.") from None
    if endpoint.body is None:
        if not isinstance(value, dict):
            raise HttpError(400, "The body must be empty, or a JSON object.")
        return None
    try:
        return endpoint.body.model_validate(value)
    except ValidationError as wrong:
        problems = [Problem(_path(error["loc"]), error["msg"]) for error in wrong.errors(include_url=False)]
        raise HttpError(400, "The body is not what this route takes.", problems) from None


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.lstrip(".")


def json_response(answer: object, status: int = 200) -> Response:
    """An answer as JSON; a model by its PascalCase names."""
    value = answer.model_dump(by_alias=True, mode="json") if isinstance(answer, BaseModel) else answer
    return Response(json.dumps(value).encode(), status=status, headers=HEADERS)


def error_response(error: HttpError) -> Response:
    """An error as the contract has it."""
    problems = [{"Path": each.path, "Message": each.message} for each in error.problems]
    answer = ErrorAnswer.model_validate({"Error": error.message, "Problems": problems})
    return json_response(answer, error.status)
