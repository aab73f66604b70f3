# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests of every kind that the document allows and forbids: no 5xx, and no answer that the document does not say."""

import os
import subprocess
import sys
from pathlib import Path

from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))
SEED = "20261122"
# What is left out: that every body of the right shape is accepted (a rule may name a destination that there is not),
# and that TRACE gets 405 (Orthanc's web server answers 400 by itself).
LEFT_OUT = "positive_data_acceptance,unsupported_method"


def test_no_request_makes_the_router_fail_or_answer_otherwise_than_documented(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node})
    study = make_study(tmp_path / "study", instances=3, pixels=(8, 8))
    send(study.files, router.node)
    router.wait_until_completed(1)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{router.url}/router/openapi.json"),
        *(
            "--url",
            router.url,
            "--checks",
            "all",
            "--exclude-checks",
            LEFT_OUT,
            "--phases",
            "examples,coverage,fuzzing",
        ),
        *("--max-examples", str(EXAMPLES), "--seed", SEED, "--generation-database", "none", "--no-color"),
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2_000:]
    assert "failed:" not in router.log()
    assert router.crash_signs() == []
