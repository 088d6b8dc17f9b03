"""Generate gateway/v1 from proto/gateway/v1; with --check only tell whether the committed code is what comes out.

Run as `python proto/generate.py [--check]` from a checkout with the `dev` extra installed.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto"
TARGET = ROOT / "gateway" / "v1"
INIT = '"""Generated from proto/gateway/v1 by proto/generate.py; do not edit."""\n'


def generate(out: Path) -> None:
    """Write the generated modules of every proto below `out`."""
    files = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.glob("gateway/v1/*.proto"))
    arguments = ["protoc", f"-I{SOURCE}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    if protoc.main([*arguments, *files]):
        sys.exit("protoc failed")
    (out / "gateway" / "v1" / "__init__.py").write_text(INIT)


def main() -> int:
    """Generate, or compare and say which files differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        generate(out)
        fresh = out / "gateway" / "v1"
        names = {path.name for path in fresh.iterdir()}
        if check:
            standing = {path.name for path in TARGET.iterdir() if path.is_file()}
            _, differ, missing = filecmp.cmpfiles(fresh, TARGET, sorted(names), shallow=False)
            stale = sorted({*differ, *missing, *(standing - names)})
            if stale:
                sys.stderr.write(f"gateway/v1 is not what proto/ generates: {', '.join(stale)}; run `make proto`\n")
                return 1
            return 0
        for path in TARGET.iterdir():
            if path.is_file():
                path.unlink()
        for name in names:
            shutil.copy(fresh / name, TARGET / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
