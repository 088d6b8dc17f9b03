"""Models: verify and publish against `openssl dgst -sha256`, with the same files and in one run; memory at 20 GiB."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.bench_corridor import Bench, PeakMemory, bench, timed

MANIFEST = """
id: {id}
title: Bench model
licence: Apache-2.0
model: {{format: safetensors, openness: closed, end_use: civil, memorisation_test: none}}
"""
_TENSOR = 64 << 20
_BLOCK = 8 << 20


def make_model(directory: Path, mib: int, *, sparse: bool = False) -> Path:
    """A safetensors file of tensors of 64 MiB each, random or with holes for data, and a config."""
    directory.mkdir(parents=True)
    count = max(1, (mib << 20) // _TENSOR)
    header: dict[str, Any] = {
        f"layer.{n}.weight": {"dtype": "F32", "shape": [_TENSOR // 4], "data_offsets": [n * _TENSOR, (n + 1) * _TENSOR]}
        for n in range(count)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(11)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if sparse:
            file.truncate(8 + len(text) + count * _TENSOR)
        else:
            for _ in range(count * _TENSOR // _BLOCK):
                file.write(rng.bytes(_BLOCK))
    (directory / "config.json").write_text('{"architectures": ["Bench"]}')
    return directory


def openssl(directory: Path) -> float:
    """Seconds of `openssl dgst -sha256` over all files."""
    files = [str(path) for path in sorted(directory.iterdir())]
    command = ["openssl", "dgst", "-sha256", *files]
    return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))[0]


def copied(directory: Path, target: Path) -> float:
    """Seconds of `cp` and `sync` of the same files."""

    def work() -> None:
        subprocess.run(["cp", "-r", str(directory), str(target)], check=True)
        subprocess.run(["sync", "-f", str(target)], check=True)

    seconds, _ = timed(work)
    shutil.rmtree(target)
    return seconds


def tdz(profile: Path, *arguments: str) -> float:
    """Seconds that the command itself says it took."""
    command = [sys.executable, "-m", "gateway.cli.main", "model", *arguments, "--profile", str(profile), "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # errors show
    done.check_returncode()
    return float(json.loads(done.stdout)["seconds"])


def forget_stored(made: Bench) -> None:
    """Take what is stored off the provider's disk, so that the next publication stores every byte again."""
    data = made.provider.layout.chunks.parent
    for chunk in (data / "chunks").glob("*/*"):
        chunk.unlink()
    for version in (data / "versions").glob("*/*"):
        shutil.rmtree(version)


def measure(directory: Path, *, mib: int, runs: int) -> dict[str, Any]:
    """Medians over runs that alternate, all on the directory's file system; the files are warm in the page cache."""
    with bench(directory / "corridor") as made:
        model = make_model(directory / "model", mib)
        manifest = directory / "model.yaml"
        manifest.write_text(MANIFEST.format(id="bench"))
        profile = made.shlab
        rows: dict[str, list[float]] = {"dgst": [], "copy": [], "publish": [], "verify": []}
        signed = directory / "signed"
        for run in range(runs + 1):
            seconds = {"dgst": openssl(model), "copy": copied(model, directory / "copy")}
            seconds["publish"] = tdz(profile, "publish", str(model), "--manifest", str(manifest))
            forget_stored(made)
            if not signed.exists():
                _sign(profile, model, signed)
            seconds["verify"] = tdz(profile, "verify", str(signed))
            if run:  # the first warms up
                for name, value in seconds.items():
                    rows[name].append(value)
        found = {name: statistics.median(values) for name, values in rows.items()}
        return {
            "mib": mib,
            "runs": runs,
            "dgst_s": found["dgst"],
            "copy_s": found["copy"],
            "publish_s": found["publish"],
            "verify_s": found["verify"],
            "verify_ratio": found["dgst"] / found["verify"],
            "publish_ratio": (found["dgst"] + found["copy"]) / found["publish"],
        }


def _sign(profile: Path, model: Path, target: Path) -> None:
    """The same files with the publisher's signature beside them."""
    from gateway.artifacts.directory import ModelDirectory
    from gateway.artifacts.signing import sign_model
    from gateway.config import load_profile
    from gateway.identity.signing import load_signing

    found = load_profile(profile)
    assert found.signing_key is not None
    assert found.signing_certificate is not None
    signing = load_signing(found.signing_key, found.signing_certificate, found.ca, now=int(time.time()))
    target.mkdir()
    for path in model.iterdir():
        os.link(path, target / path.name)
    entries = ModelDirectory(target).scan()
    bundle = sign_model(entries, name="bench", key=signing.key, chain=signing.chain).bundle
    (target / "model.sig").write_text(bundle)


def measure_memory(directory: Path, *, gib: int) -> dict[str, Any]:
    """Peak memory of the publishing command and of its gateway's tree while a sparse model is published."""
    with bench(directory / "corridor") as made:
        model = make_model(directory / "model", gib << 10, sparse=True)
        manifest = directory / "model.yaml"
        manifest.write_text(MANIFEST.format(id="sparse"))
        command = [sys.executable, "-m", "gateway.cli.main", "model", "publish", str(model)]
        command += ["--manifest", str(manifest), "--profile", str(made.shlab), "--json"]
        assert made.provider.process is not None
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            pids = {"gateway": made.provider.process.pid, "command": psutil.Process(client.pid).pid}
            with PeakMemory(pids) as peak:
                out, _ = client.communicate()
        if client.returncode:
            raise RuntimeError("the publication failed")
        return {
            "gib": gib,
            "seconds": time.perf_counter() - start,
            "chunks": json.loads(out)["chunks"],
            "peak_mib": peak.peak,
        }
