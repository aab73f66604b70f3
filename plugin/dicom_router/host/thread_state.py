# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Python knows of a thread of Orthanc, kept from one call to the next.

Orthanc's Python plugin tells of changes on a thread of its own, and enters the interpreter four times for each image
that is received. Each time Python makes a state for the thread and takes it away again (PyGILState_Ensure and
PyGILState_Release): nearly half of what any Python plugin costs while images come in. A thread that has entered once
more than it leaves keeps its state, until the interpreter ends.
"""

import threading

MOST_THREADS = 4  # a state that is kept is never freed; Orthanc has one such thread

_here = threading.local()
_kept = 0


def keep_thread_state() -> None:
    """Of the thread that calls, the first time it does."""
    global _kept  # noqa: PLW0603 - it is the interpreter's
    if _kept >= MOST_THREADS or hasattr(_here, "kept"):
        return
    try:
        import ctypes  # noqa: PLC0415 - a small Python may come without it

        ctypes.pythonapi.PyGILState_Ensure()
    except (ImportError, AttributeError):
        pass
    _here.kept = True
    _kept += 1
