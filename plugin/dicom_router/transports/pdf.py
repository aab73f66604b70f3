# SPDX-License-Identifier: AGPL-3.0-or-later
"""A PDF of pictures, written page by page: Pillow holds all of them in memory, or reads the file for each again."""

from collections.abc import Mapping
from typing import BinaryIO

POINTS = 72.0  # in an inch
CATALOG, PAGES = 1, 2  # numbers of objects; what they hold is known at the end
COLOURS = {"L": "DeviceGray", "RGB": "DeviceRGB"}  # by Pillow's mode


class PdfFile:
    """PDF 1.4 (ISO 32000-1, 7.5), into an empty file."""

    def __init__(self, file: BinaryIO, resolution: float) -> None:
        self._file = file
        self._points = POINTS / resolution  # of a pixel
        self._offsets = {CATALOG: 0, PAGES: 0}
        self._pages: list[int] = []
        file.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")

    def add_page(self, jpeg: bytes, mode: str, size: tuple[int, int]) -> None:
        """A page that is this picture."""
        width, height = size
        picture = self._add_stream(
            f"/Type /XObject /Subtype /Image /Width {width} /Height {height} "
            f"/ColorSpace /{COLOURS[mode]} /BitsPerComponent 8 /Filter /DCTDecode",
            jpeg,
        )
        box = f"{width * self._points:.2f}", f"{height * self._points:.2f}"
        contents = self._add_stream("", f"q {box[0]} 0 0 {box[1]} 0 0 cm /image Do Q".encode())
        page = (
            f"<< /Type /Page /Parent {PAGES} 0 R /MediaBox [0 0 {box[0]} {box[1]}] "
            f"/Resources << /XObject << /image {picture} 0 R >> >> /Contents {contents} 0 R >>"
        )
        self._pages.append(self._add(page.encode()))

    def end(self, told: Mapping[str, str]) -> None:
        """What comes after the last page; `told` is what the document says of itself, such as its Subject."""
        pages = " ".join(f"{page} 0 R" for page in self._pages)
        self._add(f"<< /Type /Catalog /Pages {PAGES} 0 R >>".encode(), CATALOG)
        self._add(f"<< /Type /Pages /Count {len(self._pages)} /Kids [{pages}] >>".encode(), PAGES)
        texts = " ".join(f"/{key} <{_text(value)}>" for key, value in told.items())
        info = self._add(f"<< {texts} >>".encode())
        start = self._file.tell()
        size = len(self._offsets) + 1
        table = "".join(f"{self._offsets[number]:010} 00000 n \n" for number in range(1, size))
        trailer = f"trailer\n<< /Root {CATALOG} 0 R /Info {info} 0 R /Size {size} >>\nstartxref\n{start}\n%%EOF\n"
        self._file.write(f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode())

    def _add_stream(self, entries: str, content: bytes) -> int:
        head = f"<< {entries} /Length {len(content)} >>\nstream\n"
        return self._add(head.encode() + content + b"\nendstream")

    def _add(self, content: bytes, number: int | None = None) -> int:
        """An object; answers its number."""
        number = len(self._offsets) + 1 if number is None else number
        self._offsets[number] = self._file.tell()
        self._file.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
        return number


def _text(value: str) -> str:
    return f"\ufeff{value}".encode("utf-16-be").hex()
