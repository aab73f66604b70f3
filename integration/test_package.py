# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wheel: the same bytes from the same sources, whole, and enough for the command line and for an Orthanc."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from support.router import REPOSITORY
from support.side_database import on_postgresql
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "run", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)
INSTALL = (REPOSITORY / "docs/install.md").read_text(encoding="utf-8")
SCRIPT = "import dicom_router, orthanc\n\ndicom_router.install(orthanc)\n"


def build(folder: Path, umask: int) -> Path:
    """A wheel from a copy of the sources that was made at another time, under another umask."""
    sources = folder / "sources"
    shutil.copytree(REPOSITORY, sources, ignore=LEFT_OUT)
    for path in sources.rglob("*"):
        os.utime(path, (0, 1_700_000_000 + umask))
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1767225600"}
    words = ["wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run([sys.executable, "-m", "pip", *words], cwd=sources, env=environment, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), 0o022)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean virtual environment with the wheel and what it needs."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{wheel}[postgres]" if on_postgresql() else wheel], check=True)
    return venv


def run(command: Path, *words: str, cwd: Path) -> str:
    """What a command prints; without anything of this checkout around it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([command, *words], cwd=cwd, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def test_the_same_sources_make_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert build(tmp_path, 0o077).read_bytes() == wheel.read_bytes()


def test_a_wheel_has_the_package_and_the_page_and_nothing_else(wheel: Path) -> None:
    plugin = REPOSITORY / "plugin"
    package = {
        str(path.relative_to(plugin))
        for path in (plugin / "dicom_router").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    web = {f"dicom_router/{path.relative_to(plugin)}" for path in (plugin / "web").rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package | web
    assert "dicom_router/web/index.html" in names
    assert "dicom_router/web/vendor/import-map.json" in names
    assert len(package) > 100


def test_a_wheel_has_the_text_of_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        text = archive.read(f"{info}/licenses/LICENSE").decode()
    assert metadata["License-File"] == "LICENSE"
    assert text == (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in text


def test_a_wheel_says_what_it_needs(wheel: Path) -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        told = message_from_string(archive.read(metadata).decode())
    assert wheel.name.endswith("-py3-none-any.whl")
    assert told["Requires-Python"] == setup["options"]["python_requires"]
    assert told["License-Expression"] == setup["metadata"]["license_expression"]
    needed = [each for each in told.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert len(needed) == len(setup["options"]["install_requires"].strip().splitlines())


def test_the_command_line_works_from_the_installed_package(installed: Path, tmp_path: Path) -> None:
    python, command = installed / "bin" / "python", installed / "bin" / "dicom-router"
    where = run(python, "-c", "import dicom_router; print(dicom_router.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)
    shutil.copy(REPOSITORY / "orthanc.json", tmp_path)
    assert run(command, "check", "orthanc.json", cwd=tmp_path) == run(
        python, "-m", "dicom_router", "check", "orthanc.json", cwd=tmp_path
    )


def script_of_windows(packages: Path) -> str:
    """The script that docs/install.md gives for Windows, with these packages."""
    found = re.search(r"^## Windows.*?```python\n(.*?)```", INSTALL, re.MULTILINE | re.DOTALL)
    assert found
    assert "C:/dicom-router-packages" in found[1]
    return textwrap.dedent("   " + found[1].lstrip()).replace("C:/dicom-router-packages", str(packages))


@pytest.mark.parametrize("named_by", ["environment", "script"])
def test_an_orthanc_routes_with_the_installed_package(
    installed: Path,
    start_router: StartRouter,
    start_scp: StartScp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named_by: str,
) -> None:
    (packages,) = installed.glob("lib/python*/site-packages")
    monkeypatch.setenv("ORTHANC_PYTHONPATH", str(packages if named_by == "environment" else tmp_path / "nothing"))
    script = tmp_path / "router.py"
    assert SCRIPT in INSTALL
    script.write_text(SCRIPT if named_by == "environment" else script_of_windows(packages))
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"PythonScript": str(script)})
    study = make_study(tmp_path / "study", instances=3)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    router.wait_until_completed(1)
    page = router.router_request("GET", "/ui/")
    assert page.status == 200
    assert b"import" in page.body
    assert "router_plugin" not in router.log()
