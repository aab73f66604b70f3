# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fault of Orthanc's Python plugin itself; docs/decisions.md tells it, test_stopping.py shows it without the router.

At its end, plugin 7.1 frees twice the changes that came after ORTHANC_STOPPED: Orthanc has closed everything by then,
and the C library ends it with SIGABRT, or stumbles over it without a word.
"""

import re
import signal

FAULTY = frozenset({"7.1"})  # versions of the plugin

_VERSION = re.compile(r"Registering plugin 'python' \(version (\S+)\)")
_LAST_WORDS = {
    -signal.SIGABRT: re.compile(
        r"Python plugin is finalizing\n"
        r"(?:free\(\)|malloc\(\)|munmap_chunk\(\)|corrupted|double free|malloc_consolidate\(\))[^\n]*\n?\Z"
    ),
    # Where Python itself crashes, its faulthandler tells so, up to the end of the interpreter.
    -signal.SIGSEGV: re.compile(r"Python plugin is finalizing\n?\Z"),
}


def is_faulty(log: str) -> bool:
    """Whether the plugin that was loaded last is known for the fault."""
    versions = _VERSION.findall(log)
    return bool(versions) and versions[-1] in FAULTY


def was_the_plugins_fault(exit_code: int, log: str) -> bool:
    """Whether Orthanc ended by this fault and by nothing else: its very last words tell. With PYTHONFAULTHANDLER."""
    last_words = _LAST_WORDS.get(exit_code)
    return last_words is not None and is_faulty(log) and last_words.search(log) is not None
