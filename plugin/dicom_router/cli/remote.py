# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the command line asks of a running router, over HTTP."""

import json
from argparse import Namespace
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import urllib3

from dicom_router.cli.local import Outcome, UserError, read_configuration

_OK: Final = 200
_TIMEOUT: Final = 60.0
_OTHER_SHAPE: Final = (LookupError, TypeError, AttributeError)  # what an answer that is not a router's makes us raise
FILTERS: Final = ("status", "rule", "destination", "study", "patient", "accession", "from", "to", "q", "limit")


class Remote:
    """A router behind the address of its Orthanc."""

    def __init__(self, url: str, user: str) -> None:
        self.url = url.rstrip("/")
        self._url = self.url + "/router"
        self._headers = {"Authorization": f"Basic {_credentials(user)}"} if user else {}
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer. Raises UserError for what the router refuses."""
        headers = dict(self._headers) | ({} if method == "GET" else {"Content-Type": "application/json"})
        data = None if method == "GET" else json.dumps({} if body is None else body)
        try:
            answer = self._pool.request(method, self._url + path, body=data, headers=headers)
        except (urllib3.exceptions.HTTPError, ValueError) as problem:
            raise UserError(f"{self._url} does not answer: {problem}") from None
        try:
            told = json.loads(answer.data) if answer.data else None
        except (ValueError, RecursionError):
            told = None
        if answer.status != _OK:
            raise UserError(self._refusal(answer.status, told))
        return told

    def _refusal(self, status: int, told: object) -> str:
        try:
            error, problems = told["Error"], told["Problems"]  # type: ignore[index]
            return str(error) + "".join(f"\n  {each['Path']}: {each['Message']}" for each in problems)
        except _OTHER_SHAPE:
            known = {
                401: "The user or the password is wrong; see --user.",
                404: f"There is no dicom-router at {self.url}, or it could not be loaded: see its status.",
            }
            return known.get(status, f"The answer is an error ({status}).")


def _credentials(user: str) -> str:
    """In UTF-8, in which Orthanc reads its own users; urllib3 takes Latin-1, which has no €."""
    return b64encode(user.encode("utf-8", "surrogateescape")).decode()


# --- commands --------------------------------------------------------------------------------------------------------


def status(remote: Remote, _options: Namespace) -> Outcome:
    """Whether everything flows."""
    told = remote.call("GET", "/status")
    lines = [_summary(told)]
    lines += [f"problem: {each['Path']}: {each['Message']}" for each in told["Problems"]]
    lines += [f"warning: {each['Path']}: {each['Message']}" for each in told["Warnings"]]
    return Outcome(lines, told, 0 if told["State"] == "Running" else 1)


def _summary(told: Mapping[str, Any]) -> str:
    """In a line; a router that could not be loaded does not know all of it."""
    queue = ", ".join(f"{count} {name.lower()}" for name, count in told.get("Queue", {}).items())
    orthanc = f" in Orthanc {told['Orthanc']}" if told.get("Orthanc") else ""
    database = f", {told['Database']}" if told.get("Database") else ""
    version = f" dicom-router {told['Version']}{orthanc}{database}." if told.get("Version") else ""
    state: str = told["State"]
    return state + (f": {queue}." if queue else ".") + version


def _listed(told: object) -> list[Any]:
    """The answer as the list that it should be; TypeError for what is none."""
    if not isinstance(told, list):
        raise TypeError(told)
    return told


def destinations(remote: Remote, _options: Namespace) -> Outcome:
    """All destinations."""
    told = _listed(remote.call("GET", "/destinations"))
    waiting = ("Scheduled", "Sending", "Retrying", "Failed")
    rows = [
        [each["Name"], each["State"], *(str(each["Counts"].get(name, 0)) for name in waiting), each["Reason"]]
        for each in told
    ]
    return Outcome(table(["Name", "State", *waiting, ""], rows), told)


def rules_list(remote: Remote, _options: Namespace) -> Outcome:
    """All rules in order."""
    told = _listed(remote.call("GET", "/rules"))
    rows = [
        [each["Name"], each["Origin"], str(each["Version"]), "on" if each.get("Enabled", True) else "off", _sends(each)]
        for each in told
    ]
    lines = table(["Name", "Origin", "Version", "", "Send"], rows)
    lines += [
        f"warning: {each['Name']}: {warning['Path']}: {warning['Message']}"
        for each in told
        for warning in each["Warnings"]
    ]
    return Outcome(lines, told)


def _sends(rule: Mapping[str, Any]) -> str:
    """Where it sends; a rule that cannot be read is shown too, with whatever stands there."""
    sends = rule.get("Send")
    return ", ".join(
        str(each.get("To") or each.get("FirstOf") or each.get("OneOf")) if isinstance(each, Mapping) else str(each)
        for each in (sends if isinstance(sends, list) else [])
    )


def rules_export(remote: Remote, _options: Namespace) -> Outcome:
    """Always JSON: it is for a file."""
    told = remote.call("GET", "/rules-export")
    _listed(told["Rules"])
    return Outcome([json.dumps(told, indent=2, ensure_ascii=False)], told)


def rules_import(remote: Remote, options: Namespace) -> Outcome:
    """The rules of an export, or of an orthanc.json."""
    read = read_configuration(Path(options.file))
    rules = read.get("Rules", read.get("Router", {}).get("Rules") if isinstance(read.get("Router"), dict) else None)
    if not isinstance(rules, list):
        raise UserError(f'{options.file} has no "Rules".')
    told = _listed(remote.call("POST", "/rules-import", {"Rules": rules, "Replace": options.replace}))
    return Outcome([f"{len(rules)} rules were imported; there are {len(told)} now."], told)


def history(remote: Remote, options: Namespace) -> Outcome:
    """A page of deliveries, newest first."""
    query = {name: value for name in FILTERS if (value := getattr(options, name.replace("from", "from_"), None))}
    told = remote.call("GET", f"/history?{urlencode(query, errors='surrogateescape')}" if query else "/history")
    rows = [
        [
            *(str(each["ID"]), each["CreatedAt"], each["Status"], each["Destination"], each["Rule"]),
            f"{each['InstancesSent']}/{each['InstancesCount']}",
            each["PatientName"] or each["StudyInstanceUID"],
            (each["LastError"] or {}).get("Message", "") if each["Status"] != "Completed" else "",
        ]
        for each in told["Items"]
    ]
    lines = table(["ID", "Made", "Status", "Destination", "Rule", "Sent", "Patient", ""], rows)
    return Outcome([*lines, f"{len(rows)} of {told['Total']} deliveries."], told)


def resend(remote: Remote, options: Namespace) -> Outcome:
    """Send deliveries again."""
    body = {"Destination": options.destination, "Instances": options.instances}
    said = {key: value for key, value in body.items() if value is not None}
    told = [
        remote.call("POST", f"/history/{quote(each, safe='', errors='surrogateescape')}/resend", said)
        for each in options.id
    ]
    return Outcome(
        [f"Delivery {old} is sent again as {new['ID']}." for old, new in zip(options.id, told, strict=True)], told
    )


def cancel(remote: Remote, options: Namespace) -> Outcome:
    """Do not send."""
    told = [
        remote.call("POST", f"/history/{quote(each, safe='', errors='surrogateescape')}/cancel") for each in options.id
    ]
    return Outcome([f"Delivery {each['ID']}: {each['Status']}." for each in told], told)


COMMANDS: Final[Mapping[str, Callable[[Remote, Namespace], Outcome]]] = {
    "status": status,
    "destinations": destinations,
    "history": history,
    "resend": resend,
    "cancel": cancel,
    "rules list": rules_list,
    "rules export": rules_export,
    "rules import": rules_import,
}


def ask(remote: Remote, command: str, options: Namespace) -> Outcome:
    """What a command found. Raises UserError, also where the answers are those of something else."""
    try:
        return COMMANDS[command](remote, options)
    except _OTHER_SHAPE:
        raise UserError(f"There is no dicom-router at {remote.url}, or one of another version.") from None


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell."""
    cells = [list(heads), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
