# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: `dicom-router …`, also `python -m dicom_router`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dicom_router import __version__
from dicom_router.cli.local import Outcome, UserError, check, explain
from dicom_router.cli.remote import FILTERS, Remote, ask

USER_MISTAKE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where something is wrong with what was looked at; 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        outcome = _run(options)
        _print(outcome, as_json=options.json)
    except UserError as problem:
        _tell(str(problem))
        return USER_MISTAKE if options.command in ("check", "explain") else 1
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return outcome.code


def _run(options: argparse.Namespace) -> Outcome:
    if options.command == "check":
        return check(Path(options.file))
    if options.command == "explain":
        return explain(Path(options.file), [Path(each) for each in options.dicom])
    name = f"rules {options.action}" if options.command == "rules" else options.command
    return ask(Remote(options.url, options.user), name, options)


def _tell(text: str) -> None:
    """On the standard error."""
    print(_printable(f"dicom-router: {text}", sys.stderr.encoding), file=sys.stderr)  # noqa: T201 (a command line)


def _print(outcome: Outcome, *, as_json: bool) -> None:
    for note in outcome.notes:
        _tell(note)
    lines = [json.dumps(outcome.data, indent=2, ensure_ascii=False)] if as_json else outcome.lines
    for line in lines:
        print(_printable(line, sys.stdout.encoding))  # noqa: T201 (a command line)
    sys.stdout.flush()


def _printable(line: str, encoding: str) -> str:
    """The line; a character that the terminal lacks by its escape, with which JSON stays the same JSON."""
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return "".join(each if _has(encoding, each) else json.dumps(each)[1:-1] for each in line)
    return line


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="output for programs")
    remote = argparse.ArgumentParser(add_help=False, parents=[shared])
    _add_address(remote, argparse.SUPPRESS, argparse.SUPPRESS)
    parser = argparse.ArgumentParser("dicom-router", description="Look after a dicom-router.")
    parser.add_argument("--version", action="version", version=f"dicom-router {__version__}")
    parser.add_argument("--json", action="store_true", help="output for programs")
    _add_address(parser, "http://127.0.0.1:8042", os.environ.get("DICOM_ROUTER_USER", ""))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser(
        "check", parents=[shared], help="problems and warnings of an orthanc.json; no server needed"
    )
    one.add_argument("file", metavar="FILE", help="the orthanc.json, or the folder of such files")
    one = commands.add_parser("explain", parents=[shared], help="which rules would take these files; no server needed")
    one.add_argument("file", metavar="FILE", help="the orthanc.json, or the folder of such files")
    one.add_argument("dicom", metavar="DICOM", nargs="+", help="DICOM files, or folders of them")
    _add_remote(commands, remote)
    return parser


def _add_address(parser: argparse.ArgumentParser, url: str, user: str) -> None:
    parser.add_argument("--url", default=url, help="Orthanc's address (http://127.0.0.1:8042)")
    parser.add_argument("--user", default=user, metavar="USER:PASSWORD", help="also in DICOM_ROUTER_USER")


def _add_remote(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", remote: argparse.ArgumentParser
) -> None:
    commands.add_parser("status", parents=[remote], help="whether everything flows")
    commands.add_parser("destinations", parents=[remote], help="all destinations and their health")
    rules = commands.add_parser("rules", parents=[remote], help="list, export or import rules")
    actions = rules.add_subparsers(dest="action", required=True, metavar="list|export|import")
    actions.add_parser("list", parents=[remote], help="all rules in order")
    actions.add_parser("export", parents=[remote], help="all rules as JSON")
    one = actions.add_parser("import", parents=[remote], help="take over rules, all or none")
    one.add_argument("file", metavar="FILE", help="an export, or an orthanc.json")
    one.add_argument("--replace", action="store_true", help="rules made here before go")
    one = commands.add_parser("history", parents=[remote], help="deliveries, newest first")
    for name in FILTERS:
        one.add_argument(f"--{name}", dest=name.replace("from", "from_"), help="as of GET /router/history")
    one = commands.add_parser("resend", parents=[remote], help="send deliveries again")
    one.add_argument("id", metavar="ID", nargs="+")
    one.add_argument("--destination", help="another destination")
    one.add_argument("--instances", choices=["Missing", "All"], help="what is missing there, or all")
    one = commands.add_parser("cancel", parents=[remote], help="cancel deliveries")
    one.add_argument("id", metavar="ID", nargs="+")
