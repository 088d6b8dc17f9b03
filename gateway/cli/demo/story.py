"""The demo's story, step by step: each step checks what it shows, and fails where it does not hold."""

from __future__ import annotations

import concurrent.futures
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway import sdk
from gateway.cli.demo import material, training
from gateway.cli.demo.corridor import Corridor, ZoneProcess
from gateway.errors import ConflictError, DeniedError, IntegrityError, PeerUnavailableError, TdzError
from gateway.identity.card import read_card
from gateway.sdk import Published, Transfer, Zone
from ledger.entry import Entry
from ledger.errors import LedgerError as LedgerFailure
from ledger.report import Report
from ledger.tiles import TILE_WIDTH, TileReader, entries_path
from ledger.verify import verify_directory

_ATTEMPTS: Final = 3
_PULL_DEADLINE_S: Final = 60.0
_MIRROR_DEADLINE_S: Final = 15.0


@dataclass(frozen=True)
class Step:
    """One step of the story: what came of it, how long it took, and its facts."""

    name: str
    outcome: str
    seconds: float
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it came out as it should."""
        return self.outcome != "failed"

    def document(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {"name": self.name, "outcome": self.outcome, "seconds": round(self.seconds, 3), "detail": self.detail}


Result = tuple[str, dict[str, Any]]


class Story:
    """The whole story in a directory.

    Args:
        directory: gets one directory for each zone, and the files that partners pull.
        tell: hears each step when it has ended.
    """

    def __init__(self, directory: Path, tell: Callable[[Step], None]) -> None:
        self.directory = directory
        self.work = directory / "partners"
        self._tell = tell
        self._corridor: Corridor | None = None
        self._flights = self.work / "flights.csv"
        self._model = self.work / "cell-classifier"

    def run(self) -> list[Step]:
        """Go through all steps; the first that fails is the last. No process is left behind."""
        steps: list[Step] = []
        try:
            for name, step in self._steps():
                begun = time.monotonic()
                try:
                    outcome, detail = step()
                except (TdzError, LedgerFailure, OSError, concurrent.futures.TimeoutError) as error:
                    outcome, detail = "failed", {"error": str(error), "kind": type(error).__name__}
                steps.append(Step(name, outcome, time.monotonic() - begun, detail))
                self._tell(steps[-1])
                if not steps[-1].ok:
                    break
        finally:
            if self._corridor is not None:
                self._corridor.stop()
        return steps

    def _steps(self) -> Iterator[tuple[str, Callable[[], Result]]]:
        yield "make two zones", self._make
        yield "start both gateways", self._start
        yield "pair them by fingerprint", self._pair
        yield "enrol and register institutions", self._enrol
        yield "publish flights in lingang", self._publish_flights
        yield "publish patients in both zones", self._publish_patients
        yield "transfer CN to MY", self._allowed
        yield "transfer MY to CN", self._refused
        yield "kill a gateway half way, resume", self._killed
        yield "train on both tables, rows at home", self._train
        yield "pull the model, show its lineage", self._pull_model
        yield "compare what was learned", self._compare
        yield "a model of unknown origin", self._hold
        yield "verify both ledgers", self._verify
        yield "change one byte of a copy", self._tamper

    # --- the ground ----------------------------------------------------------------------------------------

    @property
    def corridor(self) -> Corridor:
        """The two zones, once made."""
        if self._corridor is None:
            raise ConflictError("the zones are not made yet")
        return self._corridor

    def _zone(self, name: str) -> ZoneProcess:
        return self.corridor.zone(name)

    def _partner(self, zone: str, id: str) -> Zone:  # noqa: A002  the identity's own word
        return sdk.connect(self._zone(zone).profile(id))

    def _make(self) -> Result:
        self.work.mkdir(parents=True)
        self._corridor = Corridor.make(self.directory)
        return "made", {
            zone.name: {
                "jurisdiction": zone.settings.jurisdiction,
                "endpoint": str(zone.settings.endpoint),
                "origin": zone.settings.origin,
            }
            for zone in self.corridor.zones
        }

    def _start(self) -> Result:
        self.corridor.start()
        return "started", {zone.name: {"pid": _pid(zone)} for zone in self.corridor.zones}

    def _pair(self) -> Result:
        self.corridor.pair()
        return "paired", {
            zone.name: {"card": read_card(zone.layout.card.read_bytes()).fingerprint} for zone in self.corridor.zones
        }

    def _enrol(self) -> Result:
        found: dict[str, Any] = {}
        for zone, institutions in material.institutions().items():
            for name, (exporter, recipient) in institutions.items():
                self._zone(zone).enrol(name)
                self._zone(zone).register(name, exporter, recipient)
                found[f"tdz://{zone}/partner/{name}"] = exporter["legal_name"]
        with self._zone("lingang").admin() as admin:
            mechanism = admin.add_mechanism(material.mechanism())
        return "enrolled", {"institutions": found, "mechanisms": [mechanism.ref]}

    # --- publishing ----------------------------------------------------------------------------------------

    def _publish_flights(self) -> Result:
        material.unpack_flights(self.work)
        with self._partner("lingang", material.AVIATION) as institute:
            plain = institute.publish(
                self._flights, material.flights_manifest(material.FLIGHTS, "Flights out of New York City, 2013")
            )
            wide = self._publish_wide(institute, material.WEATHER)
        return "published", {each.name: _published(each) for each in (plain, wide)}

    def _publish_wide(self, institute: Zone, name: str) -> Published:
        rows = material.flights_with_weather(self._flights)
        return institute.publish(rows, material.flights_manifest(name, "Flights with aircraft and weather, 2013"))

    def _publish_patients(self) -> Result:
        here, there, _ = material.split_scans()
        with self._partner("cyberjaya", material.HOSPITAL) as hospital:
            ours = hospital.publish(here, material.scans_manifest(here.num_rows))
        with self._partner("lingang", material.LAB) as laboratory:
            theirs = laboratory.publish(there, material.wards_manifest(there.num_rows))
        return "published", {each.name: _published(each) for each in (ours, theirs)}

    # --- moving --------------------------------------------------------------------------------------------

    def _allowed(self) -> Result:
        with self._partner("cyberjaya", material.UM) as university:
            begun = time.monotonic()
            access = university.request(material.FLIGHTS, purpose="research", mechanisms=(material.MECHANISM,))
            agreed = time.monotonic()
            pull = access.pull()
            file = pull.to_file(self.work / "flights.parquet")
            ended = time.monotonic()
            request, done = access.request, pull.progress
        if request is None:
            raise IntegrityError("the agreement came without its request")
        return "allowed", {
            "request": request.id,
            "agreement": access.agreement,
            "transfer": pull.transfer,
            "decisions": [decision.document() for decision in request.decisions],
            "rows": done.rows,
            "bytes": done.bytes,
            "chunks": done.chunks,
            "request_seconds": round(agreed - begun, 3),
            "pull_seconds": round(ended - agreed, 3),
            "file": str(file),
        }

    def _refused(self) -> Result:
        with self._partner("lingang", material.LAB) as laboratory:
            try:
                laboratory.request(material.SCANS, purpose="research")
            except DeniedError as error:
                request = laboratory.show_request(error.request_id)
                return "refused", {
                    "request": request.id,
                    "resource": request.resource,
                    "message": error.message,
                    "findings": [finding.document() for finding in request.findings],
                    "decisions": [decision.document() for decision in request.decisions],
                }
        raise IntegrityError("patients' data left Malaysia without a basis", remedy="the policy is not the shipped one")

    def _killed(self) -> Result:
        with self._partner("cyberjaya", material.UM) as university:
            for attempt in range(1, _ATTEMPTS + 1):
                name = material.WEATHER
                if attempt > 1:  # the last pull ended before the kill; what has landed cannot be cut any more
                    name = f"{material.WEATHER}-{attempt}"
                    with self._partner("lingang", material.AVIATION) as institute:
                        self._publish_wide(institute, name)
                found = self._cut(university, name)
                if found is not None:
                    return "resumed", {**found, "attempts": attempt}
        raise ConflictError("every pull ended before its gateway could be killed", remedy="run the demo again")

    def _cut(self, university: Zone, name: str) -> dict[str, Any] | None:
        """Pull, kill the consumer's gateway under way, start it again; None where the pull was faster."""
        gateway = self._zone("cyberjaya")
        flowing = threading.Event()
        access = university.request(name, purpose="research")
        pull = access.pull(progress=lambda _step: flowing.set())
        target = self.work / "flights-weather.parquet"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reading = pool.submit(pull.to_file, target)
            try:
                if not flowing.wait(_PULL_DEADLINE_S):
                    raise PeerUnavailableError("no chunk arrived", remedy=f"see {gateway.layout.log}")
                seen = university.watch(pull.transfer, _under_way)
                gateway.kill()
                killed = time.monotonic()
                gateway.start()
                down = time.monotonic() - killed
                reading.result(_PULL_DEADLINE_S)
            finally:
                pull.close()
        after = university.transfer(pull.transfer)
        resumed = [
            entry.body["first_chunk"]
            for entry in _entries(gateway, f"transfers/{pull.transfer}")
            if entry.kind == "transfer.resumed"
        ]
        if not _under_way(seen) or not resumed or resumed[0] == after.chunks:
            return None
        return {
            "transfer": pull.transfer,
            "same_transfer_id": after.id == pull.transfer,
            "state": after.state,
            "killed_at_chunk": seen.chunks_done,
            "resumed_at_chunk": resumed[0],
            "chunks": after.chunks,
            "rows": pull.progress.rows,
            "bytes": after.bytes,
            "down_seconds": round(down, 3),
            "reconnects": pull.progress.reconnects,
            "file": str(target),
        }

    # --- training ------------------------------------------------------------------------------------------

    def _train(self) -> Result:
        with self._partner("cyberjaya", material.HOSPITAL) as hospital:
            return "trained", training.train(hospital)

    def _pull_model(self) -> Result:
        with self._partner("lingang", material.LAB) as laboratory:
            return "pulled", training.pull_model(laboratory, self._model)

    def _compare(self) -> Result:
        return "compared", dict(training.quality(self._model))

    def _hold(self) -> Result:
        with self._partner("lingang", material.LAB) as lab, self._partner("cyberjaya", material.UM) as university:
            return "held", training.hold(lab, university, self.work / "found-weights", self._model)

    # --- proving -------------------------------------------------------------------------------------------

    def _verify(self) -> Result:
        self._await_witnesses()
        self.corridor.stop()
        found = {}
        for zone in self.corridor.zones:
            report = self._report(zone, zone.layout.ledger)
            if report.exit_code:
                raise IntegrityError(f"the ledger of {zone.name} does not verify: {'; '.join(report.lines())}")
            witnessed = report.witnessed
            found[zone.name] = {
                "entries": report.entries,
                "root": report.root.hex(),
                "witnessed": witnessed.size if witnessed else 0,
                "witnesses": witnessed.names if witnessed else [],
                "directory": str(zone.layout.ledger),
            }
        return "verified", found

    def _await_witnesses(self) -> None:
        """Let each zone cosign the other's last entries, in bounded time; the verifier tells how far they came."""
        until = time.monotonic() + _MIRROR_DEADLINE_S
        for zone in self.corridor.zones:
            with zone.admin() as admin:
                while (status := admin.status()).witnessed_size < status.ledger_size and time.monotonic() < until:
                    time.sleep(0.1)

    def _report(self, zone: ZoneProcess, directory: Path) -> Report:
        """Verify with the keys of the zones' cards, not with those that lie in the directory."""
        own = read_card(zone.layout.card.read_bytes()).card
        others = [
            read_card(other.layout.card.read_bytes()).card.mirror for other in self.corridor.zones if other is not zone
        ]
        return verify_directory(directory, vkey=own.log, witness_vkeys=others)

    def _tamper(self) -> Result:
        zone = self._zone("lingang")
        copy = self.directory / "tampered-copy-of-lingang-ledger"
        shutil.copytree(zone.layout.ledger, copy)
        entry = next(each for each in _entries(zone, "transfers/") if each.kind == "transfer.completed")
        file, offset, before, after = _change_rows(copy, entry)
        report = self._report(zone, copy)
        if report.first_bad_entry != entry.seq:
            raise IntegrityError(f"the verifier named entry {report.first_bad_entry}, not {entry.seq}")
        return "detected", {
            "file": str(file),
            "offset": offset,
            "before": before,
            "after": after,
            "entry": entry.seq,
            "kind": entry.kind,
            "named_by_verifier": report.first_bad_entry,
            "findings": [f"{each.file}: {each.text}" for each in report.findings],
        }


def _under_way(transfer: Transfer) -> bool:
    return 0 < transfer.chunks_done < transfer.chunks


def _pid(zone: ZoneProcess) -> int:
    return zone.process.pid if zone.process is not None else 0


def _published(done: Published) -> dict[str, Any]:
    return {"rows": done.rows, "bytes": done.bytes, "chunks": done.chunks, "version": done.version}


def _entries(zone: ZoneProcess, subject: str) -> list[Entry]:
    """The entries of a zone's ledger whose subject begins so."""
    directory = zone.layout.ledger
    size = verify_directory(directory).size
    found = (Entry.parse(data) for data in TileReader(directory).entries(0, size, size))
    return [entry for entry in found if entry.subject.startswith(subject)]


def _change_rows(directory: Path, entry: Entry) -> tuple[Path, int, str, str]:
    """Change one digit of the rows that an entry says crossed; gives file, place, and the byte before and after."""
    size = verify_directory(directory).size
    bundle = entry.seq // TILE_WIDTH
    file = directory / entries_path(bundle, min(TILE_WIDTH, size - bundle * TILE_WIDTH))
    data = bytearray(file.read_bytes())
    text = entry.encode()
    offset = data.index(text) + text.index(b'"rows":') + len(b'"rows":')
    before = data[offset]
    data[offset] = ord("9") if before != ord("9") else ord("8")
    file.chmod(0o644)
    file.write_bytes(data)
    return file, offset, chr(before), chr(data[offset])
