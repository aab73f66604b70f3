# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendered frames as PNG, JPEG and PDF files that say themselves what they show."""

import io
import textwrap
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PdfParser import PdfParser, decode_text
from PIL.PngImagePlugin import PngInfo

JPEG_QUALITY = 90
RESOLUTION = 96.0  # pixels in an inch of a page
PAGES_AT_ONCE = 32  # that are held in memory
TEXT_PAGE = (794, 1123)  # A4 at RESOLUTION
PNG_KEY = "SOPInstanceUID"


def write_png(rendered: bytes, stamp: str, path: Path) -> None:
    """Orthanc's PNG, with the stamp. Raises OSError."""
    told = PngInfo()
    told.add_text(PNG_KEY, stamp)
    with Image.open(io.BytesIO(rendered)) as image:
        image.save(path, "PNG", pnginfo=told)


def png_stamp(path: Path) -> str | None:
    """The stamp of a PNG file."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return str(image.info.get(PNG_KEY, "")) or None
    except (OSError, ValueError):
        return None


def write_jpeg(rendered: bytes, stamp: str, path: Path) -> None:
    """Orthanc's PNG as JPEG, with the stamp. Raises OSError."""
    with Image.open(io.BytesIO(rendered)) as image:
        _plain(image).save(path, "JPEG", quality=JPEG_QUALITY, comment=stamp.encode())


def jpeg_stamp(path: Path) -> str | None:
    """The stamp of a JPEG file."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            comment = image.info.get("comment", b"")
    except (OSError, ValueError):
        return None
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)


def write_pages(pages: Iterable[bytes | str], stamp: str, path: Path) -> None:
    """A PDF: each page one of Orthanc's PNGs, or a text where there is nothing to show. Raises OSError."""
    subject, _, keywords = stamp.partition("\n")
    rest, begun = iter(pages), False
    while batch := list(islice(rest, PAGES_AT_ONCE)):
        images = [_text_page(page) if isinstance(page, str) else _plain(Image.open(io.BytesIO(page))) for page in batch]
        images[0].save(
            path,
            "PDF",
            save_all=True,
            append=begun,
            append_images=images[1:],
            resolution=RESOLUTION,
            quality=JPEG_QUALITY,
            subject=subject,
            keywords=keywords,
        )
        begun = True


def pdf_stamp(path: Path) -> str | None:
    """The stamp of a PDF file."""
    try:
        with PdfParser(str(path)) as parser:
            told = [parser.info.get(key) for key in (b"Subject", b"Keywords")] if parser.info else []
    except Exception:  # noqa: BLE001 - whatever is wrong with a file that somebody else put there
        return None
    return "\n".join(decode_text(each) if isinstance(each, bytes) else each for each in told if each) or None


def _plain(image: Image.Image) -> Image.Image:
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


def _text_page(text: str) -> Image.Image:
    page = Image.new("L", TEXT_PAGE, 255)
    lines = "\n".join(textwrap.wrap(text, 60))
    ImageDraw.Draw(page).multiline_text((60, 80), lines, fill=0, font=ImageFont.load_default(20))
    return page
