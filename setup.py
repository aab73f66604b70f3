# SPDX-License-Identifier: AGPL-3.0-or-later
"""What setup.cfg cannot say: the web page lies beside the package in a checkout, and inside it in a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

WEB = Path(__file__).parent / "plugin" / "web"
FILE, FOLDER = 0o644, 0o755


class BuildWithPage(build_py):
    """Adds the web page where the package looks for it (api/web_page.py)."""

    def run(self) -> None:
        """Build as always, then copy."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "dicom_router"
        if WEB.is_dir():
            shutil.rmtree(package / "web", ignore_errors=True)
            shutil.copytree(WEB, package / "web")
        set_rights(package)


class WheelOfNoMachine(bdist_wheel):
    """The licence is copied with the rights that it has in the checkout."""

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        """Describe the package as always, with ordinary rights."""
        super().egg2dist(egginfo_path, distinfo_path)
        set_rights(Path(distinfo_path))


def set_rights(folder: Path) -> None:
    """Those of no particular machine."""
    for path in folder.rglob("*"):
        path.chmod(FOLDER if path.is_dir() else FILE)


setup(cmdclass={"build_py": BuildWithPage, "bdist_wheel": WheelOfNoMachine})
