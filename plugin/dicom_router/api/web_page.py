# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/ui/: the web page, from the folder `web`. Only the standard library and the host are needed here."""

import base64
import hashlib
import json
import re
from pathlib import Path

from dicom_router.host.sdk import Request, Response

ADDRESS = "/router/ui"
INDEX = "index.html"
VENDOR = "vendor"
IMPORT_MAP = f"{VENDOR}/import-map.json"

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# A name that can only be a file below the folder: no "..", no separator of any system, nothing hidden.
LONGEST_NAME = 100
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
STAMP = re.compile(r"(v-[0-9a-f]{16})/")
INLINE = re.compile(r"<script(?: type=\"importmap\")?>(.*?)</script>", re.DOTALL)

MISSING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dicom-router</title></head><body>
<h1>The web page is not complete</h1>
<p>The router itself works. What is missing are the modules that the page loads.</p>
<p>Run <code>make web</code> in the folder of dicom-router, then load this page again.
Meanwhile <a href="/router/status">/router/status</a> tells how the router is.</p>
</body></html>
"""


def web_folder() -> Path:
    """Beside the package in a checkout, inside it where it was installed from a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "web"
    return inside if inside.is_dir() else package.parent / "web"


class WebPage:
    """The files of the page. What lies outside the folder is not there, whatever the path says.

    The page names its own files below a stamp of their content, `v-0123456789abcdef/app.js`, so that a browser asks
    for none of them again until one has changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    @staticmethod
    def owns(path: str) -> bool:
        """Whether the path of a request is the page's."""
        return path == ADDRESS or path.startswith(f"{ADDRESS}/")

    def answer(self, request: Request) -> Response:
        """A file, 304 where the browser has it, or 404."""
        if request.method != "GET":
            return _error("The web page is only read.", 400)
        told = request.path.removeprefix(ADDRESS).lstrip("/") or INDEX
        stamp = STAMP.match(told)
        name = told[stamp.end() :] if stamp else told
        if name == INDEX:
            return self._index(request)
        file = self._file(name)
        if file is None:
            return _error("There is no such file of the web page.", 404)
        # A module of others carries its version in its name (see .ci/vendor-web-modules). What is named by an older
        # stamp was named by a page that was loaded before an upgrade.
        versioned = name.startswith(f"{VENDOR}/") and bool(re.search(r"-\d", file.name))
        lasting = versioned or (stamp is not None and stamp[1] == self._stamp())
        caching = "max-age=31536000, immutable" if lasting else "no-cache"
        return _cached(request, file.read_bytes(), TYPES[file.suffix], caching)

    def _stamp(self) -> str:
        """That of the page's own files, by their names, sizes and times."""
        files = sorted(each for each in self._folder.rglob("*") if each.suffix in TYPES and each.is_file())
        told = [(each.relative_to(self._folder).as_posix(), each.stat()) for each in files]
        text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in told)
        return f"v-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _index(self, request: Request) -> Response:
        file, modules = self._file(INDEX), self._file(IMPORT_MAP)
        if file is None or modules is None:
            return Response(MISSING.encode(), TYPES[".html"], headers=_headers(_policy(MISSING)))
        text = file.read_text(encoding="utf-8").replace("{{import map}}", modules.read_text(encoding="utf-8"))
        text = text.replace("{{stamp}}", self._stamp())
        return _cached(request, text.encode(), TYPES[".html"], "no-cache", _policy(text))

    def _file(self, name: str) -> Path | None:
        pieces = name.split("/")
        if len(name) > LONGEST_NAME or not all(NAME.fullmatch(piece) for piece in pieces):
            return None
        file = self._folder.joinpath(*pieces)
        if file.suffix not in TYPES or not file.is_file():
            return None
        return file if file.resolve().is_relative_to(self._folder) else None  # a link may lead out


def _cached(request: Request, content: bytes, content_type: str, caching: str, policy: str = "") -> Response:
    tag = f'"{hashlib.sha256(content + policy.encode()).hexdigest()[:32]}"'
    headers = _headers(policy) | {"Cache-Control": caching, "ETag": tag}
    known = (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(","))
    if tag in known:
        return Response(b"", content_type, 304, headers)
    return Response(content, content_type, headers=headers)


def _error(message: str, status: int) -> Response:
    body = json.dumps({"Error": message, "Problems": []}).encode()
    return Response(body, "application/json", status, _headers(_policy("")))


def _headers(policy: str) -> dict[str, str]:
    told = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
    return told | ({"Content-Security-Policy": policy} if policy else {})


def _policy(page: str) -> str:
    """Nothing from elsewhere, no inline script but those of the page itself, named by their hashes.

    `require-trusted-types-for` makes the browser refuse any text that would become HTML (W3C Trusted Types).
    """
    digests = [hashlib.sha256(script.encode()).digest() for script in INLINE.findall(page)]
    inline = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self'{inline}",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
