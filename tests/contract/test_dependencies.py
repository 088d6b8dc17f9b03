"""What is installed with each extra is what the rooms of that extra import, and each dependency has its reason."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT, product_files, relative, tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()
# What `tdz` can do for a partner; the commands of a zone's operator need the extra `gateway`.
PARTNER = (
    "gateway.sdk",
    "gateway.sdk.admin",
    "gateway.cli.app",
    "gateway.cli.identity",
    "gateway.cli.identity_online",
    "gateway.cli.zone_online",
)
# Modules of the ledger that need an extra; all others need the plain install alone.
LEDGER_EXTRAS = {
    "ledger/witness/server.py": "witness",
    "ledger/timestamps.py": "timestamp",
    "ledger/replay/worker.py": "replay",
}
# pydantic pins its core to the exact version, and its own documentation imports errors from there.
PART_OF = {"pydantic_core": "pydantic"}
# Imports nothing that is not named on its command line: what a machine without the rest would do.
ALONE = """
import importlib, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else self.finder.find_spec(name, path, target)

blocked = set(sys.argv[1].split(","))
sys.meta_path[:] = map(Without, sys.meta_path)
for name in sys.argv[2].split(","):
    importlib.import_module(name)
"""


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;(]", name, maxsplit=1)[0]).lower()


def direct(extra: str) -> set[str]:
    """What an extra names, with the extras that it contains and the plain install."""
    names = {canonical(each) for each in PROJECT["dependencies"]}
    for each in EXTRAS[extra] if extra else ():
        inner = re.fullmatch(r"tdz-gateway\[([\w,]+)\]", each)
        names |= set().union(*map(direct, inner[1].split(","))) if inner else {canonical(each)}
    return names


def closure(names: set[str]) -> set[str]:
    """Distributions with all that they need."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        waiting |= {canonical(each) for each in needed if "extra ==" not in each} - found
    return found


def imports(path: Path) -> Iterator[str]:
    """Top-level names of what a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def third_party(path: Path) -> set[str]:
    """Top-level names that a file imports from neither the standard library nor us."""
    own = {"gateway", "ledger", "tests", "benchmarks"}
    return {name for name in imports(path) if name not in sys.stdlib_module_names and name not in own}


def _declared(path: Path) -> set[str]:
    """What the extra of a file's room gives."""
    if path.is_relative_to(ROOT / "ledger" / "index"):
        return direct("sql")
    if path.is_relative_to(ROOT / "ledger"):
        return direct(LEDGER_EXTRAS.get(relative(path), ""))
    if path.is_relative_to(ROOT / "gateway" / "cli" / "demo"):
        return direct("demo")
    if path.is_relative_to(ROOT / "gateway" / "compute"):
        return direct("compute")
    return direct("sdk" if path.is_relative_to(ROOT / "gateway" / "sdk") else "gateway")


def test_every_import_is_declared_by_the_extra_of_its_room() -> None:
    missing = {
        f"{relative(path)}: {name}"
        for path in product_files()
        for name in third_party(path)
        if not _declared(path) & ({PART_OF.get(name, "")} | {canonical(each) for each in DISTRIBUTIONS.get(name, ())})
    }
    assert missing == set()


def _import_with(extra: str, modules: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    allowed = closure(direct(extra))
    blocked = [name for name, owners in DISTRIBUTIONS.items() if not allowed & {canonical(each) for each in owners}]
    own = {"gateway", "ledger", "_tdz_gateway", *sys.stdlib_module_names}
    names = ",".join(name for name in blocked if name not in own)
    command = [sys.executable, "-c", ALONE, names, ",".join(modules)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_ledger_needs_nothing_but_cryptography() -> None:
    paths = [path for path in (ROOT / "ledger").rglob("*.py") if relative(path) != "ledger/witness/server.py"]
    modules = tuple(relative(path).removesuffix(".py").replace("/", ".") for path in paths)
    names = tuple(name.removesuffix(".__init__") for name in modules if not name.endswith("__main__"))
    done = _import_with("", names)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("extra", "module"), [(extra, module) for module, extra in LEDGER_EXTRAS.items()])
def test_an_extra_of_the_ledger_is_enough_for_its_module_without_the_gateway(extra: str, module: str) -> None:
    assert not direct(extra) & (direct("sdk") - direct(""))
    done = _import_with(extra, (module.removesuffix(".py").replace("/", "."), "ledger.cli.main"))
    assert done.returncode == 0, done.stderr


def test_the_extra_sdk_is_enough_for_a_partner() -> None:
    done = _import_with("sdk", PARTNER)
    assert done.returncode == 0, done.stderr


def test_the_extra_gateway_is_enough_for_an_operator() -> None:
    modules = ("gateway.server.process", "gateway.cli.app", "gateway.cli.policy", "gateway.cli.zone")
    done = _import_with("gateway", modules)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_would_be_noticed() -> None:
    assert _import_with("", ("gateway.sdk",)).returncode != 0


def test_each_direct_dependency_has_its_reason() -> None:
    page = (ROOT / "docs" / "decisions" / "dependencies.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| [^|]*\| (.+?) \|$", page, re.MULTILINE)
    reasons = {canonical(name): reason for name, reason in rows}
    named = {name for extra in EXTRAS for name in direct(extra)} | direct("")
    assert set(reasons) == named
    assert all(len(reason) > 20 for reason in reasons.values())


def test_every_version_is_locked() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.+]*", line)] == []
    locked = {canonical(line) for line in pins}
    assert direct("dev") - locked == set()
    assert not locked & {"torch", "tdz-gateway"}
