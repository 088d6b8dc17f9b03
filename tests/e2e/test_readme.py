"""The commands in README.md and docs/ are typed here, in order, against real gateways.

In a page, a ```console block is run: `$ ` begins a command, `> ` goes on with it, and what follows is output that
must come in this order, where … stands for anything. `# exit code N` at a command's end says how it ends, 0 where it
says nothing.
A ```python block is run too. A ```yaml block that begins with `# NAME` is written to the file NAME first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import gateway.sdk as tdz
from gateway.cli.demo import material, training
from gateway.cli.demo.corridor import Corridor
from tests.e2e.small import directory_entries

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(console|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"\s+# exit code (\d)$")
MARK = "-- tdz --"
SHIMS = {"python": "", "tdz": "-m gateway.cli.main", "tdz-ledger": "-m ledger"}
DEADLINE_S = 480

pytestmark = pytest.mark.e2e


@dataclass
class Typed:
    """One command of a page, and what the page says comes of it."""

    command: str
    output: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        found = CODE.search(self.command)
        return int(found[1]) if found else 0


def read(page: Path, work: Path) -> list[Typed]:
    """The commands of a page; its files are written."""
    typed: list[Typed] = []
    for number, (kind, text) in enumerate(FENCE.findall(page.read_text("utf-8"))):
        if kind == "yaml":
            if named := re.match(r"# ([a-z0-9-]+\.ya?ml)\n", text):
                (work / named[1]).write_text(text)
        elif kind == "python":
            (work / f"block-{number}.py").write_text(text)
            typed.append(Typed(f"python block-{number}.py"))
        else:
            typed += commands(text)
    return typed


def commands(text: str) -> list[Typed]:
    """The commands of one console block."""
    typed: list[Typed] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            typed.append(Typed(line[2:]))
        elif line.startswith("> ") or line == ">":
            typed[-1].command += "\n" + line[2:]
        elif line.strip() not in ("", "…"):
            typed[-1].output.append(line)
    return typed


def shims(directory: Path) -> Path:
    """The commands of this checkout, whether or not it is installed."""
    directory.mkdir(exist_ok=True)
    for name, module in SHIMS.items():
        shim = directory / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        shim.chmod(0o755)
    return directory


def type_in(typed: list[Typed], work: Path, deadline_s: float = DEADLINE_S) -> None:
    """Type the commands into one shell; every exit code and every shown line must come."""
    script = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n"
    for number, each in enumerate(typed):
        script += f"{each.command}\necho '{MARK}' {number} $?\n"
    environment = {
        **os.environ,
        "PATH": f"{shims(work / 'bin')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    environment.pop("TDZ_PROFILE", None)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=deadline_s,
        check=False,
    )
    parts = re.split(rf"^{MARK} (\d+) (\d+)$", done.stdout, flags=re.MULTILINE)
    results = {int(parts[i + 1]): (int(parts[i + 2]), parts[i]) for i in range(0, len(parts) - 1, 3)}
    for number, each in enumerate(typed):
        code, said = results.get(number, (-1, done.stdout))
        assert code == each.code, f"$ {each.command}\n{said}\nended with {code}"
        came = iter(said.splitlines())
        for line in each.output:
            wanted = re.compile(".*".join(re.escape(part.strip()) for part in line.split("…")))
            assert any(wanted.search(" ".join(seen.split())) or wanted.search(seen) for seen in came), (
                f"$ {each.command}\ndid not say: {line}\nbut:\n{said}"
            )


def await_the_other_end(ledger: Path) -> None:
    """The zone that took part hears of a run's end a moment later than the one that started it."""
    until = time.monotonic() + DEADLINE_S
    while not any(entry["kind"] == "run.completed" for entry in directory_entries(ledger)):
        assert time.monotonic() < until, "the run's end is not recorded in both zones"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with `corridor/` in it, as `tdz demo --resume corridor` serves it."""
    directory = tmp_path_factory.mktemp("reader")
    with Corridor.make(directory / "corridor") as corridor:
        corridor.start()
        corridor.pair()
        for zone, institutions in material.institutions().items():
            for name, (exporter, recipient) in institutions.items():
                corridor.zone(zone).enrol(name)
                corridor.zone(zone).register(name, exporter, recipient)
        flights = material.unpack_flights(directory)
        manifest = material.flights_manifest(material.FLIGHTS, "Flights out of New York City, 2013")
        with tdz.connect(corridor.zone("lingang").profile(material.AVIATION)) as institute:
            institute.publish(flights, manifest)
        here, there, _ = material.split_scans()
        with tdz.connect(corridor.zone("lingang").profile(material.LAB)) as laboratory:
            laboratory.publish(there, material.wards_manifest(there.num_rows))
        with tdz.connect(corridor.zone("cyberjaya").profile(material.HOSPITAL)) as hospital:
            hospital.publish(here, material.scans_manifest(here.num_rows))
            training.train(hospital)
        await_the_other_end(directory / "corridor" / "lingang" / "ledger")
        yield directory


ELSEWHERE = {"recovery.md", "witnesses.md"}  # these change what they stand on, and have zones of their own
LEDGER_PAGES = [
    f"docs/ledger/{page.name}" for page in sorted((ROOT / "docs" / "ledger").glob("*.md")) if page.name not in ELSEWHERE
]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/partners.md", "docs/auditors.md", "docs/policy/log.md", *LEDGER_PAGES]
)
def test_a_page_for_the_demos_corridor_is_true(page: str, work: Path) -> None:
    typed = read(ROOT / page, work)
    assert typed
    type_in(typed, work)


def test_the_two_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", readme))
    assert {"demo", "test"} <= named <= targets
