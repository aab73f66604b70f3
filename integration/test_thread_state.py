# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Python knows of Orthanc's thread of changes stays from one change to the next."""

from pathlib import Path

import pytest

from support.orthanc import python_plugin
from support.router import REPOSITORY
from support.starting import StartOrthanc
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

INSTANCES = 5

# Counts in a local variable of the thread, which ends with what Python knows of it.
SCRIPT = """
import json, sys, threading
sys.path.insert(0, {plugin!r})
import orthanc
from dicom_router.host.kept import keep
from dicom_router.host.thread_state import keep_thread_state

here = threading.local()
most = 0

def on_change(change, level, resource):
    global most
    keep_thread_state()
    here.changes = getattr(here, "changes", 0) + 1
    most = max(most, here.changes)

def tell(output, uri, **request):
    output.AnswerBuffer(json.dumps(most), "application/json")

orthanc.RegisterOnChangeCallback(keep(on_change))
orthanc.RegisterRestCallback("/most", keep(tell))
"""


@pytest.mark.smoke
def test_orthancs_thread_of_changes_keeps_its_state_and_orthanc_ends_in_order(
    start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    script = tmp_path / "counting.py"
    script.write_text(SCRIPT.format(plugin=str(REPOSITORY / "plugin")))
    orthanc = start_orthanc("COUNTING", config={"Plugins": [str(python_plugin())], "PythonScript": str(script)})
    study = make_study(tmp_path / "study", instances=INSTANCES)
    assert send(study.files, orthanc.node).acknowledged == study.sop_instance_uids
    wait_until(lambda: orthanc.get("/most") >= INSTANCES, 10, "the changes are counted by one thread")
    orthanc.stop()
    assert orthanc.crash_signs() == []
