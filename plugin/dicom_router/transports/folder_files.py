# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files in a folder: written beside and renamed, so that nobody ever sees half of one; never outside of the folder."""

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.filing.names import mark_of
from dicom_router.filing.template import Place

TEMPORARY = ".dicom-router-"
PROBE_BYTES = 65536  # a disk that is full to the last block still makes empty files
NOT_FOR_FOLDERS = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}
LONG_MARK = 16

Fill = Callable[[Path], None]  # writes the content; the file is there, and empty


@dataclass(frozen=True)
class Stamp:
    """What a file is of, as the file itself tells: the same thing replaces it, another one goes beside.

    Of a file of many, `parts` are marks of what it holds: one that holds less goes beside, too.
    """

    text: str
    read: Callable[[Path], str | None]  # what was `written` in an existing file, None where there is nothing
    parts: frozenset[str] = frozenset()

    @property
    def written(self) -> str:
        """What the file is to tell."""
        return "\n".join([self.text, *sorted(self.parts)])

    def parts_on(self, path: Path) -> frozenset[str] | None:
        """What the file of that thing at `path` holds; None where it is of another one."""
        said = self.read(path) if path.is_file() and not path.is_symlink() else None
        if said is None or not f"{said}\n".startswith(f"{self.text}\n"):
            return None
        return frozenset(said.removeprefix(self.text).split())

    def may_replace(self, path: Path) -> bool:
        """It is the file of that thing, and holds nothing more."""
        found = self.parts_on(path)
        return found is not None and found <= self.parts


class LeavesFolderError(Exception):
    """A symbolic link inside of the folder leads out of it."""


class FolderFiles:
    """Thread-safe. `owner` names this Orthanc, so that what it left behind when it was killed can be told apart."""

    def __init__(self, owner: str) -> None:
        self._prefix = f"{TEMPORARY}{mark_of(owner)}-"
        self._lock = threading.Lock()
        self._naming: dict[str, threading.Lock] = {}  # by root: one that hangs holds up no other
        self._tidied: set[str] = set()

    def write(self, root: str, place: Place, stamp: Stamp, fill: Fill) -> None:
        """Put a file at `place`, over the one with this stamp if that holds no more, beside any other.

        Raises OSError, LeavesFolderError, and whatever `fill` raises; then nothing has changed.
        """
        self._tidy(root)
        temporary = Path(root) / f"{self._prefix}{uuid.uuid4().hex}.part"
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            fill(temporary)
            _sync(temporary)
            with self._naming_in(root):  # between the choice of a name and the renaming
                folder = _make_folders(root, place.folders)
                os.replace(temporary, _free_name(folder, place, stamp))
            _sync(folder)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def find(self, root: str, place: Place, stamp: Stamp) -> Path | None:
        """The file that `write` made at `place`, or beside. Raises OSError."""
        folder = Path(root, *place.folders)
        return next((path for path in _names(folder, place, stamp) if stamp.parts_on(path) is not None), None)

    def parts(self, root: str, place: Place, stamp: Stamp) -> frozenset[str]:
        """What the files that `write` made at `place` or beside hold together. Raises OSError."""
        folder = Path(root, *place.folders)
        return frozenset().union(*(stamp.parts_on(path) or () for path in _names(folder, place, stamp)))

    def probe(self, root: str) -> SendError | None:
        """Whether files can be written into the folder."""
        path = Path(root) / f"{self._prefix}{uuid.uuid4().hex}.part"
        try:
            self._tidy(root)
            try:
                path.write_bytes(bytes(PROBE_BYTES))
                _sync(path)
            finally:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        except OSError as problem:
            return folder_error(root, problem)
        return None

    def explain(self, root: str, problem: OSError) -> SendError:
        """What a failed write means: the folder as a whole is to blame, unless others can be written into it."""
        error = folder_error(root, problem)
        if error.code == "DiskFull" or self.probe(root) is not None:
            return error
        text = f"A folder or file below {root} cannot be written: {os.strerror(problem.errno or 0)}."
        return SendError.passing(error.code, text)

    def _tidy(self, root: str) -> None:
        """Once in a life: remove what an earlier one was killed over."""
        with self._naming_in(root):
            if root in self._tidied:
                return
            with os.scandir(root) as entries:
                left = [entry.path for entry in entries if entry.name.startswith(self._prefix)]
            for path in left:
                Path(path).unlink(missing_ok=True)
            self._tidied.add(root)

    def _naming_in(self, root: str) -> threading.Lock:
        real = os.path.realpath(root)  # of a folder that hangs, this may take for ever
        with self._lock:
            return self._naming.setdefault(real, threading.Lock())


def _names(folder: Path, place: Place, stamp: Stamp) -> Iterator[Path]:
    """The names that a file may have; the first, unless that is taken. It ends with one that is free."""
    for each in (place, place.marked(stamp.text), place.marked(stamp.text, LONG_MARK)):
        yield folder / each.file_name()
    for number in count(2):
        path = folder / place.marked(f"{stamp.text}\n{number}", LONG_MARK).file_name()
        yield path
        if not os.path.lexists(path):
            return


def _free_name(folder: Path, place: Place, stamp: Stamp) -> Path:
    names = list(_names(folder, place, stamp))
    own = next((path for path in names if stamp.may_replace(path)), None)
    return own or next(path for path in names if not os.path.lexists(path))


def _make_folders(root: str, names: tuple[str, ...]) -> Path:
    inside = os.path.realpath(root)
    folder = Path(root)
    for name in names:
        folder /= name
        if folder.is_symlink() and os.path.commonpath([inside, os.path.realpath(folder)]) != inside:
            raise LeavesFolderError(name)
        folder.mkdir(exist_ok=True)
    return folder


def _sync(path: Path) -> None:
    """Onto the disk, where the system can be told so (Windows and some shared folders cannot for folders)."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as problem:
        if not (is_folder and problem.errno in NOT_FOR_FOLDERS):
            raise
    finally:
        os.close(handle)


# What the system says, as (numbers, code, what to do about it). The path of a file may hold patient data: never told.
_MEANINGS = (
    ({errno.ENOSPC, errno.EDQUOT}, "DiskFull", "The disk of {} is full. Make room; sending then goes on by itself."),
    (
        {errno.EACCES, errno.EPERM, errno.EROFS},
        "NotWritable",
        "Orthanc may not write into {}. Give its user the right to; sending then goes on by itself.",
    ),
    (
        {errno.ENOENT, errno.ENOTDIR},
        "FolderMissing",
        "There is no folder {}. Make or mount it; sending then goes on by itself.",
    ),
)


def folder_error(root: str, problem: OSError) -> SendError:
    """Why nothing can be written into the folder: passing, and no fault of the instance."""
    for numbers, code, text in _MEANINGS:
        if problem.errno in numbers:
            return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, code, text.format(root))
    text = f"{root} cannot be written: {os.strerror(problem.errno or errno.EIO)}."
    return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "FolderFailed", text)
