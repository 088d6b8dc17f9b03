"""What the documents say of commands, errors, files and containers is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from gateway.cli.app import app
from gateway.errors import REASON_STATUS
from ledger.cli.main import _parser
from tests.contract.conftest import ROOT, product_files, relative

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"\btdz ((?:[a-z]+ )?[a-z]+)(?=[ `'\"\\.,;:)]|$)", re.MULTILINE)


def _commands() -> dict[str, set[str]]:
    """The groups of `tdz`, each with its commands; a plain command has none."""
    root: Any = get_command(app)
    context = root.make_context("tdz", [], resilient_parsing=True)
    found: dict[str, set[str]] = {}
    for name in root.list_commands(context):
        _, command, _ = root.resolve_command(context, [name])
        found[name] = set(getattr(command, "commands", {}))
    return found


COMMANDS = _commands()


def _options(words: list[str]) -> set[str]:
    """The options that a command of `tdz` knows."""
    root: Any = get_command(app)
    context = root.make_context("tdz", [], resilient_parsing=True)
    _, command, _ = root.resolve_command(context, [words[0]])
    for word in [*words[1:], "for"]:
        inner = getattr(command, "commands", {})
        if word not in inner:
            command = inner.get("for", command)
            break
        command = inner[word]
    return {option for parameter in command.params for option in parameter.opts}


def _typed(page: Path) -> list[list[str]]:
    """The commands of `tdz` in a page's fenced blocks, as words."""
    blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("tdz ")]


def test_the_pages_are_there() -> None:
    names = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "architecture.md", "operators.md"}
    assert names | {"partners.md", "auditors.md", "dependencies.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_links_to_what_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_files_that_a_page_names_exist() -> None:
    rooms = (ROOT, ROOT / "gateway", ROOT / "ledger")
    wrong = [
        f"{page.name}: {name}"
        for page in PAGES
        for name in re.findall(r"`([a-z]+/[a-z_/]+\.py)`", page.read_text("utf-8"))
        if not any((room / name).exists() for room in rooms)
    ]
    assert wrong == []


def test_commands_in_the_pages_exist_with_their_options() -> None:
    wrong = []
    for page in PAGES:
        for words in _typed(page):
            known = COMMANDS.get(words[0])
            given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            if known is None or not given <= _options(words):
                wrong.append(f"{page.name}: tdz {' '.join(words)}")
    assert wrong == []


def test_commands_that_a_remedy_names_exist() -> None:
    wrong = []
    for path in [*product_files(), *(ROOT / "policy").rglob("*.rego")]:
        for name in NAMED.findall(path.read_text("utf-8")):
            group, _, command = name.partition(" ")
            known = {command, *COMMANDS.get(group, ())} if group in {"request", "needs"} else COMMANDS.get(group)
            if known is None or (known and command and command not in known):
                wrong.append(f"{relative(path)}: tdz {name}")
    assert wrong == []


def test_the_auditors_pages_name_each_command_of_tdz_ledger() -> None:
    pages = [ROOT / "docs" / "auditors.md", *sorted((ROOT / "docs" / "ledger").glob("*.md"))]
    page = "\n".join(each.read_text("utf-8") for each in pages)
    choices: Any = next(action for action in _parser()._actions if action.choices and not action.option_strings)
    assert [name for name in choices.choices if f"tdz-ledger {name} " not in page] == []


def test_each_reason_is_explained_to_partners() -> None:
    page = (ROOT / "docs" / "partners.md").read_text("utf-8")
    rows = re.findall(r"^\| `(TDZ-[A-Z-]+)` \| ([A-Z_]+) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert [(reason, status) for reason, status, _, _ in rows] == list(REASON_STATUS.items())


def test_each_method_is_bounded_to_roles_that_the_architecture_names() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert all(f"`{role}`" in page for role in ("gateway", "partner", "admin", "auditor"))


def test_the_health_of_a_gateways_container_is_asked_with_a_command_that_exists() -> None:
    document = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    for name in ("lingang", "cyberjaya"):
        words = document["services"][name]["healthcheck"]["test"][2:]
        assert words[0] in COMMANDS
        assert {word for word in words if word.startswith("--")} <= _options(words)


def test_the_image_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    *_, last = text.split("\nFROM ")
    assert re.search(r"^USER (?!root|0)\w+$", last, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split()[:-1])
