# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendered frames as PNG, JPEG and PDF files that say themselves what they show."""

import io
import textwrap
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PdfParser import PdfParser, decode_text
from PIL.PngImagePlugin import PngInfo

from dicom_router.transports.pdf import PdfFile

JPEG_QUALITY = 90
RESOLUTION = 96.0  # pixels in an inch of a page
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
    with path.open("wb") as file:
        pdf = PdfFile(file, RESOLUTION)
        for page in pages:
            image = _text_page(page) if isinstance(page, str) else _plain(Image.open(io.BytesIO(page)))
            jpeg = io.BytesIO()
            image.save(jpeg, "JPEG", quality=JPEG_QUALITY)
            pdf.add_page(jpeg.getvalue(), image.mode, image.size)
        pdf.end({"Subject": subject, "Keywords": keywords})


def pdf_stamp(path: Path) -> str | None:
    """The stamp of a PDF file."""
    try:
        with PdfParser(str(path)) as parser:
            told = [parser.info.get(key) for key in (b"Subject", b"Keywords")] if parser.info else []
            texts = [each if isinstance(each, str) else decode_text(bytes(each)) for each in told if each]
    except Exception:  # noqa: BLE001 - whatever is wrong with a file that somebody else put there
        return None
    return "\n".join(texts) or None


def _plain(image: Image.Image) -> Image.Image:
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


def _text_page(text: str) -> Image.Image:
    page = Image.new("L", TEXT_PAGE, 255)
    lines = "\n".join(textwrap.wrap(text, 60))
    ImageDraw.Draw(page).multiline_text((60, 80), lines, fill=0, font=ImageFont.load_default(20))
    return page
