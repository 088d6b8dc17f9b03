"""Rules that do not compile, at every command that puts them to work: one line, with file, line and remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli.policy_bundles import app as bundles
from gateway.cli.policy_cases import app as cases
from gateway.cli.policy_compare import app as compare
from gateway.decisions.policy_set import shipped
from tests.unit.decisions.bundles import material

_runner = CliRunner()
_OPEN = "package tdz.zone.lingang\n\nfindings contains {\n"


def test_rules_that_do_not_compile_are_neither_signed_nor_verified_nor_tried_and_are_named_by_line(tmp_path):
    assert _runner.invoke(bundles, ["keygen", "k1", "-d", str(tmp_path)]).exit_code == 0
    root = Path(shutil.copytree(shipped(), tmp_path / "policy"))
    signing = ("--key", str(tmp_path / "k1.key"), "--keyid", "k1")
    of = ("--part", "zone", "--zone", "lingang", "--revision", "1", "--legal-as-of", "2025-11-22")
    bundle = ["bundle", str(root), "-o", str(tmp_path / "x.tar.gz"), *of, "--valid-until", "2099-12-31", *signing]
    says = "TDZ-{}: the policy does not compile: tdz/zone/lingang/rules.rego, line 3: what is opened here"
    assert _runner.invoke(bundles, bundle).exit_code == 0
    (root / "tdz/zone/lingang/rules.rego").write_text(_OPEN, "utf-8")
    refused = _runner.invoke(bundles, bundle)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert says.format("BUNDLE") in refused.stderr
    for command in (["test", str(root)], ["diff", "shipped", str(root)]):
        failed = _runner.invoke(cases if command[0] == "test" else compare, command[command[0] == "test" :])
        assert failed.exit_code == 2
        assert says.format("CONFIG") in failed.stderr
    foreign = tmp_path / "foreign.tar.gz"  # signed by a program that does not look
    files = {".manifest": material.manifest(1, ("tdz/zone/lingang",)).encode()}
    foreign.write_bytes(material.raw({**files, "tdz/zone/lingang/rules.rego": _OPEN.encode()}))
    (tmp_path / "zone.pem").write_bytes(material.pem(material.key("zone")))
    key = ("--zone", "lingang", "--key", str(tmp_path / "zone.pem"), "--keyid", material.ZONE)
    verified = _runner.invoke(bundles, ["verify", str(foreign), *key])
    assert verified.exit_code == 1
    assert says.format("BUNDLE") in verified.stderr
