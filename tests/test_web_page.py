# SPDX-License-Identifier: AGPL-3.0-or-later
"""The files of the web page: what is served, how it is kept, and that nothing outside the folder ever is."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from dicom_router.api.web_page import WebPage, web_folder
from dicom_router.host.sdk import Request, Response

SECRET = "secret"
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.js").write_text(SECRET)
    web = tmp_path / "web"
    for name, text in {
        "index.html": '<script>a("{{stamp}}")</script><script type="importmap">{{import map}}</script>',
        "app.js": "import 'preact'",
        "style/base.css": "p {}",
        "vendor/import-map.json": '{"imports": {}}',
        "vendor/preact-10.0.0.js": "export {}",
        "notes.exe": "unknown type",
        ".hidden.js": SECRET,
    }.items():
        (web / name).parent.mkdir(parents=True, exist_ok=True)
        (web / name).write_text(text)
    (web / "link.js").symlink_to(tmp_path / "secret.js")
    (web / "linked").symlink_to(tmp_path)
    return web


@pytest.fixture
def page(folder: Path) -> WebPage:
    return WebPage(folder)


def get(page: WebPage, path: str, **headers: str) -> Response:
    return page.answer(Request("GET", path, headers=headers))


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/router/ui", "text/html; charset=utf-8"),
        ("/router/ui/index.html", "text/html; charset=utf-8"),
        ("/router/ui/app.js", "text/javascript; charset=utf-8"),
        ("/router/ui/style/base.css", "text/css; charset=utf-8"),
    ],
)
def test_a_file_has_its_type_and_is_not_guessed_at(page: WebPage, path: str, content_type: str) -> None:
    answer = get(page, path)
    assert (answer.status, answer.content_type) == (200, content_type)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.js",
        "style/../../secret.js",
        "..\\secret.js",
        "%2e%2e/secret.js",
        "..%2fsecret.js",
        "/etc/passwd",
        "//etc/passwd",
        "C:/secret.js",
        "app.js\0.css",
        "link.js",
        "linked/secret.js",
        ".hidden.js",
        "style",
        "style/",
        "style//base.css",
        "notes.exe",
        "missing.js",
        "app.js\n",
        "ä.js",
        "a" * 5000 + ".js",
    ],
)
def test_what_is_not_a_file_of_the_page_is_not_there(page: WebPage, name: str) -> None:
    answer = get(page, f"/router/ui/{name}")
    assert answer.status == 404
    assert SECRET.encode() not in answer.body


def test_a_file_that_the_browser_has_is_not_sent_again_until_it_changes(page: WebPage, folder: Path) -> None:
    first = get(page, "/router/ui/app.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = get(page, "/router/ui/app.js", **{"if-none-match": f'"other", W/{first.headers["ETag"]}'})
    assert (again.status, again.body) == (304, b"")
    (folder / "app.js").write_text("changed")
    assert get(page, "/router/ui/app.js", **{"if-none-match": first.headers["ETag"]}).body == b"changed"


def test_a_module_with_its_version_in_its_name_is_kept_for_long(page: WebPage) -> None:
    assert "immutable" in get(page, "/router/ui/vendor/preact-10.0.0.js").headers["Cache-Control"]
    assert get(page, "/router/ui/vendor/import-map.json").headers["Cache-Control"] == "no-cache"


def stamp(answer: Response) -> str:
    return re.findall(r"v-[0-9a-f]{16}", answer.body.decode())[0]


def test_a_file_below_the_stamp_of_the_page_is_kept_for_long_until_one_changes(page: WebPage, folder: Path) -> None:
    before = stamp(get(page, "/router/ui"))
    lasting = get(page, f"/router/ui/{before}/app.js")
    assert "immutable" in lasting.headers["Cache-Control"]
    assert lasting.body == get(page, "/router/ui/app.js").body
    assert get(page, f"/router/ui/{before}/../secret.js").status == 404
    (folder / "style" / "base.css").write_text("p { color: red }")
    assert stamp(get(page, "/router/ui")) != before
    assert get(page, f"/router/ui/{before}/app.js").headers["Cache-Control"] == "no-cache"


def policy(answer: Response) -> dict[str, list[str]]:
    directives = [each.split() for each in answer.headers["Content-Security-Policy"].split(";")]
    return {name: values for name, *values in directives}


def test_only_the_inline_scripts_of_the_page_itself_are_allowed(page: WebPage) -> None:
    answer = get(page, "/router/ui")
    allowed = policy(answer)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", answer.body.decode())
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    assert scripts == [f'a("{stamp(answer)}")', '{"imports": {}}']
    assert allowed["script-src"] == ["'self'", *(f"'sha256-{each}'" for each in hashes)]
    assert allowed["default-src"] == ["'none'"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_without_the_modules_the_page_says_what_to_do(page: WebPage, folder: Path) -> None:
    (folder / "vendor" / "import-map.json").unlink()
    answer = get(page, "/router/ui")
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")
    assert b"make web" in answer.body
    assert policy(answer)["default-src"] == ["'none'"]


def test_the_page_is_only_read(page: WebPage) -> None:
    assert page.answer(Request("POST", "/router/ui/app.js")).status == 400


@pytest.mark.parametrize(
    ("path", "owned"),
    [("/router/ui", True), ("/router/ui/a", True), ("/router/uix", False), ("/router/status", False)],
)
def test_the_page_owns_what_is_below_its_address(path: str, owned: bool) -> None:
    assert WebPage.owns(path) is owned


def our_files() -> list[Path]:
    return [path for path in web_folder().rglob("*") if path.is_file() and "vendor" not in path.parts]


def test_every_file_of_the_page_can_be_served_and_names_its_licence() -> None:
    page = WebPage(web_folder())
    for path in our_files():
        name = path.relative_to(web_folder()).as_posix()
        assert get(page, f"/router/ui/{name}").status == 200, name
        assert "SPDX-License-Identifier: AGPL-3.0-or-later" in path.read_text(encoding="utf-8")[:200], name


def test_no_text_becomes_markup() -> None:
    for path in our_files():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )


def test_the_two_dark_looks_are_the_same() -> None:
    text = (web_folder() / "style" / "tokens.css").read_text(encoding="utf-8")
    blocks = re.findall(r':root[^{]*(?:not\(\[data-theme="light"\]\)|data-theme="dark"\]) \{(.*?)\}', text, re.DOTALL)
    by_system, by_button = ([line.strip() for line in block.split("\n")] for block in blocks)
    assert by_system == by_button


def _unstamped(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("{{stamp}}/", "")


def test_each_import_leads_to_a_file_of_the_page_or_to_a_named_module() -> None:
    modules = set(re.findall(r'^    "([^"]+)": \(', (REPOSITORY / ".ci/vendor-web-modules").read_text(), re.MULTILINE))
    for path in our_files():
        for wanted in re.findall(r"""(?:from|import)[ (]+["']([^"']+)["']""", _unstamped(path)):
            target = (path.parent / wanted).resolve() if wanted.startswith(".") else None
            assert target.is_file() if target else wanted in modules, f"{path.name} imports {wanted}"


def test_the_lock_names_no_registry() -> None:
    lock = (REPOSITORY / "package-lock.json").read_text()
    assert set(re.findall(r'"resolved": "(https://[^/]+/)', lock)) <= {"https://registry.npmjs.org/"}
    assert lock.count('"integrity"') == lock.count('"node_modules/')
