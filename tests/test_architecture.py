# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may know whom, read from the imports (docs/decisions.md and the design: "Rooms")."""

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "plugin"
PACKAGE = PLUGIN / "dicom_router"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {str(path.relative_to(PACKAGE).with_suffix("")): path for path in FILES}

# Rooms without a clock, a database, a network or an Orthanc, and whom each may know beside the standard library.
PURE = {
    "problems": set(),
    "durations": set(),
    "host/kept": set(),
    "tags": {"problems"},
    "transfer_syntaxes": set(),
    "alteration": {"transfer_syntaxes"},
    "deliveries": {"deliveries"},
    "rules": {"rules", "problems", "durations", "deliveries", "destination", "alteration", "transfer_syntaxes"},
    "destination": {"alteration", "deliveries", "rules"},
    "filing": {"filing", "problems"},
    "alerts": {"alerts", "deliveries", "durations", "problems", "rules"},
}
PURE_PACKAGES = {"pydantic", "croniter", "pydicom"}
# The standard library's ways out of the process; of `time` and `datetime` see EDGES.
IMPURE_MODULES = {
    "socket",
    "subprocess",
    "threading",
    "queue",
    "urllib.request",
    "http",
    "sqlite3",
    "asyncio",
    "shutil",
}

ADAPTERS = ("store", "transports", "messengers", "host")

# Where the clock is read, and where something waits by itself. Everything else takes `now`.
EDGES = {
    "app": {"time.time", "time.monotonic"},
    "running": {"time.monotonic"},
    "installation": {"time.time"},
    "dispatch": {"time.time", "time.sleep", "time.monotonic"},
    "transports": {"time.monotonic"},
    "store/postgres": {"time.monotonic"},  # between two looks at the server's clock
    "processing": {"time.monotonic"},
    "api/destinations": {"time.monotonic"},
    "api/metrics": {"time.monotonic"},
    "cli": {"datetime.now"},
    "config": {"datetime.now"},  # only for the Tests of a rule; it had better be handed `now`
}
CLOCKS = {
    "time.time",
    "time.sleep",
    "time.monotonic",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}
# Packages whose import name is not their name in setup.cfg, and what comes with another one.
COMES_WITH = {"pydantic_core": "pydantic", "playhouse": "peewee", "PIL": "pillow"}
SDK_KNOWERS = {"host/sdk", "installation"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The full names of the modules that a file imports, inside functions too."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield str(node.module)
            if node.module == "dicom_router":
                yield from (f"dicom_router.{alias.name}" for alias in node.names)


def own(path: Path) -> set[str]:
    """The rooms of this package that a file knows: `store`, `problems`."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("dicom_router.")} - {"__version__"}


def packages(path: Path) -> set[str]:
    """What a file imports that is neither this package nor the standard library."""
    top = {name.split(".")[0] for name in imports(path)}
    return top - set(sys.stdlib_module_names) - {"dicom_router"}


def room(name: str) -> str:
    return name.split("/", maxsplit=1)[0]


def in_room(*rooms: str) -> list[tuple[str, Path]]:
    found = [(name, path) for name, path in NAMES.items() if name in rooms or room(name) in rooms]
    assert found, rooms
    return found


@pytest.mark.parametrize("pure", PURE)
def test_a_pure_room_knows_only_pure_rooms(pure: str) -> None:
    for name, path in in_room(pure):
        assert own(path) <= PURE[pure], name
        assert packages(path) <= PURE_PACKAGES, name
        assert not {each for each in imports(path) if each in IMPURE_MODULES or each.split(".")[0] in IMPURE_MODULES}, (
            name
        )


def test_of_rendering_only_the_renderer_knows_orthanc() -> None:
    """The rest makes bytes of bytes."""
    for name, path in in_room("rendering"):
        if name != "rendering/renderer":
            assert own(path) <= {"rendering", "alteration", "tags", "transfer_syntaxes"}, name
            assert packages(path) <= PURE_PACKAGES, name


def test_only_the_store_knows_the_database_library() -> None:
    assert {name for name, path in NAMES.items() if "peewee" in packages(path)} <= {
        name for name in NAMES if room(name) == "store"
    } | {"dispatch/dispatcher"}  # names the type of what it is handed


def test_the_dispatcher_only_names_the_type_of_the_database() -> None:
    for node in ast.walk(tree(NAMES["dispatch/dispatcher"])):
        if isinstance(node, ast.ImportFrom) and node.module == "peewee":
            assert [alias.name for alias in node.names] == ["Database"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_adapters_do_not_know_each_other(adapter: str) -> None:
    others = set(ADAPTERS) - {adapter}
    for name, path in in_room(adapter):
        assert not own(path) & others, name


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_knows_nothing_above_it(adapter: str) -> None:
    above = {"api", "app", "dispatch", "routing", "intake", "installation", "housekeeping", "cli"}
    for name, path in in_room(adapter):
        assert not own(path) & above, name


def test_only_the_host_and_the_installation_know_the_sdk() -> None:
    assert {name for name, path in NAMES.items() if "orthanc" in packages(path)} == set()
    calls = re.compile(r"\borthanc\.(Register|Log|RestApi|Get|Set|Generate|ChangeType)\w*")
    assert {name for name, path in NAMES.items() if calls.search(path.read_text(encoding="utf-8"))} <= SDK_KNOWERS


def test_the_script_of_orthanc_only_installs() -> None:
    script = PLUGIN / "router_plugin.py"
    assert set(imports(script)) == {"orthanc", "dicom_router"}
    assert len(script.read_text(encoding="utf-8").splitlines()) < 15


def test_the_package_and_its_installation_import_nothing_before_they_are_called() -> None:
    for name in ("__init__", "installation", "host/__init__", "host/kept"):
        at_import = [node for node in tree(NAMES[name]).body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in at_import:
            told = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            itself = {"dicom_router", "dicom_router.host.kept"}  # the package is there before any module of it
            outside = {each.split(".")[0] for each in told if each not in itself}
            assert outside <= set(sys.stdlib_module_names), name


def test_only_the_composition_root_is_known_by_nobody_but_the_installation() -> None:
    assert {name for name, path in NAMES.items() if "app" in own(path)} == {"installation"}
    assert {name for name, path in NAMES.items() if "running" in own(path)} == {"app"}


def test_the_api_is_known_only_by_the_composition_root() -> None:
    assert {name for name, path in NAMES.items() if room(name) != "api" and "api" in own(path)} == {"app", "running"}


def test_nothing_downstream_calls_upstream() -> None:
    """intake → routing → dispatch → transports: each knows those after it at most."""
    for name, path in in_room("dispatch"):
        assert not own(path) & {"api", "routing", "intake", "app"}, name
    for name, path in in_room("intake"):
        assert not own(path) & {"routing", "dispatch", "api", "transports"}, name
    for name, path in in_room("routing"):
        assert not own(path) & {"intake", "dispatch", "api", "transports"}, name
    for name, path in in_room("studies"):
        assert not own(path) & {"intake", "routing", "dispatch", "api", "transports"}, name


def test_no_two_modules_need_each_other() -> None:
    """They can be put into an order in which each is loaded after those that it needs."""
    left = {}
    for name, path in NAMES.items():
        module = name.removesuffix("/__init__").replace("/", ".")
        needed = {str(node.module) for node in tree(path).body if isinstance(node, ast.ImportFrom)}
        ours = {each.removeprefix("dicom_router.") for each in needed if each.startswith("dicom_router.")}
        left[module] = {each for each in ours if each != module and _is_module(each)}
    while True:
        free = {name for name, needed in left.items() if not needed & left.keys()}
        if not free:
            break
        left = {name: needed for name, needed in left.items() if name not in free}
    circle = {name: needed & left.keys() for name, needed in left.items()}
    in_it = set().union(*circle.values())
    assert {name: needed for name, needed in circle.items() if name in in_it} == {}


def _is_module(dotted: str) -> bool:
    path = PACKAGE.joinpath(*dotted.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def clock_readings(path: Path) -> set[str]:
    """The clocks that a file names."""
    named = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            named |= {f"time.{alias.name}" for alias in node.names}
    return named & CLOCKS


def test_the_clock_is_read_at_the_edges_only() -> None:
    readings = {name: clock_readings(path) for name, path in NAMES.items()}
    allowed = {name: EDGES.get(name, set()) | EDGES.get(room(name), set()) for name in NAMES}
    assert {name: found for name, found in readings.items() if found - allowed[name]} == {}


@pytest.mark.parametrize("edge", EDGES)
def test_every_edge_is_still_needed(edge: str) -> None:
    found = [clock_readings(path) for name, path in NAMES.items() if edge in (name, room(name))]
    assert set().union(*found) == EDGES[edge]


def test_nothing_is_imported_that_is_not_installed_with_the_package() -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(PLUGIN.parent / "setup.cfg", encoding="utf-8")
    needed = setup["options"]["install_requires"] + setup["options.extras_require"]["postgres"]
    required = {name.lower() for name in re.findall(r"^([\w-]+)", needed, re.MULTILINE)}
    assert len(required) > 5
    for name, path in NAMES.items():
        assert {COMES_WITH.get(each, each) for each in packages(path)} <= required, name


def test_every_file_names_its_licence_and_tells_what_it_is() -> None:
    for name, path in NAMES.items():
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# SPDX-License-Identifier: AGPL-3.0-or-later\n"), name
        if not name.endswith("__init__"):
            assert ast.get_docstring(ast.parse(text)), name
