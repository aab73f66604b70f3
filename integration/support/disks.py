# SPDX-License-Identifier: AGPL-3.0-or-later
"""Disks that are full, and files that cannot be written: real ones, which takes root or a `sudo` that asks nothing."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _as_root(*command: str) -> None:
    subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True, capture_output=True)


def may_mount(folder: Path) -> bool:
    """Whether `small_disk` and `unwritable` work for whoever runs this."""
    try:
        with small_disk(folder / "trial", megabytes=1) as disk:
            file = disk / "file"
            file.touch()
            with unwritable(file):
                return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size at `folder`, for as long as the block lasts."""
    folder.mkdir()
    _as_root("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _as_root("umount", "--lazy", str(folder))


def fill(folder: Path) -> Path:
    """No byte is left; the disk is as before once the answered file is deleted."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


@contextmanager
def unwritable(file: Path) -> Iterator[None]:
    """Nobody may write it, not even root."""
    _as_root("chattr", "+i", str(file))
    try:
        yield
    finally:
        _as_root("chattr", "-i", str(file))
