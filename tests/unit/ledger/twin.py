"""Two zones' ledgers with entries as gateways write them, mirrored and cosigned; parties' signatures are left empty."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger import canonical
from ledger.checkpoint import Checkpoint
from ledger.entry import new_id

VERSION = "ab" * 32
VIEW = "cd" * 32
DIGEST = "ef" * 32
CYBERJAYA, LINGANG = "cyberjaya", "lingang"
UM, LAB = "tdz://cyberjaya/partner/um", "tdz://lingang/partner/ai-lab"
FINDING = {
    "authority": "binding",
    "cite": "PDPA 2010 s.129",
    "code": "MY-BASIS",
    "effect": "deny",
    "fields": [],
    "remedy": "Register a transfer impact assessment",
}
DEVICE = {
    "bits": 1, "count": 2, "die_mm2": 0, "eccn": "none", "sku": "AMD EPYC", "tops": 0, "vendor": "AMD",
    "vendor_country": "US",
}  # fmt: skip


def dsse(issuer: str, body: dict[str, Any], signatures: int = 1) -> dict[str, Any]:
    """A signed statement; the signatures say nothing."""
    statement = {"audience": {}, "body": body, "issuer": {"origin": "", "zone": issuer}}
    return {
        "payload": base64.b64encode(canonical.encode(statement)).decode(),
        "payloadType": "application/vnd.tdz.test.v1+json",
        "signatures": [{"keyid": "00", "sig": ""}] * signatures,
    }


def decision(zone: str, effect: str = "allow", findings: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A decision in its border-safe form."""
    return {
        "data_revision": "",
        "decision_id": new_id(),
        "effect": effect,
        "findings": findings or [],
        "input_digest": "",
        "obligations": [],
        "packs": [{"id": "my", "revision": "2026112201", "valid_until": 1830268800, "verdict": effect}],
        "policy_digest": "",
        "zone": zone,
    }


@dataclass
class Twin:
    """Both zones, each with an open writer and the other's mirror."""

    zones: dict[str, Any]
    directory: Path
    push: Callable[..., Any]
    writers: dict[str, Any] = field(default_factory=dict)
    mirrors: dict[str, Any] = field(default_factory=dict)

    async def open(self) -> Twin:
        for zone, other in ((CYBERJAYA, LINGANG), (LINGANG, CYBERJAYA)):
            self.writers[zone] = await self.zones[zone].open()
            self.mirrors[zone] = await self.zones[other].mirror(self.zones[zone])
            cosigner = self.zones[other].cosigner.vkey
            vkey = self.zones[zone].signer.vkey
            await self.writers[zone].set_policy(f"log {vkey}\nwitness peer {cosigner}\nquorum peer\n")
        return self

    async def close(self) -> None:
        for each in (*self.writers.values(), *self.mirrors.values()):
            await each.close()

    async def add(self, zone: str, kind: str, subject: str, **body: Any) -> int:
        """Append one entry."""
        appended = await self.writers[zone].append(id=new_id(), kind=kind, subject=subject, body=body)
        return int(appended.seq)

    async def mirrored(self, *zones: str) -> None:
        """Each zone's log is mirrored and cosigned by the other, as far as it is."""
        for zone in zones or (CYBERJAYA, LINGANG):
            head = self.writers[zone].published.checkpoint
            await self.writers[zone].add_cosignature(head.text, await self.push(self.writers[zone], self.mirrors[zone]))
            await self.writers[zone].keep()

    def export(self, zone: str, name: str = "") -> Path:
        """An auditor's copy, without ``state/`` and the mirror."""
        target = self.directory / (name or f"export-{zone}")
        shutil.copytree(
            self.zones[zone].directory, target, ignore=shutil.ignore_patterns("state", "mirror", "evidence")
        )
        return target

    def note(self, zone: str) -> str:
        """The newest checkpoint of a zone, as a receipt names it."""
        checkpoint: Checkpoint = self.writers[zone].published.checkpoint
        signer = self.zones[zone].signer
        return f"{checkpoint.text}\n{signer.sign(checkpoint.text)}\n"

    # --- what gateways write ------------------------------------------------------------------------------

    async def agree(self, identifier: str, *, resource: str = "datasets/flights", **change: Any) -> dict[str, Any]:
        """An agreement: um in cyberjaya receives from the laboratory in lingang."""
        body = {
            "consumer": UM,
            "consumer_zone": CYBERJAYA,
            "decisions": {"consumer": new_id(), "provider": new_id()},
            "id": identifier,
            "limits": {"bytes": 0, "expires_at": 1830268800, "onward": False, "pulls": 0, "rows": 0},
            "mechanisms": ["sc-1"],
            "negotiation": identifier,
            "obligations": [],
            "provider": LAB,
            "provider_zone": LINGANG,
            "purpose": "research",
            "resource": resource,
            "version": VERSION,
            "view": VIEW,
            **change,
        }
        request = {"participant": body["consumer"], "purpose": "research", "resource": resource, "version": VERSION}
        consumer, provider = body["consumer_zone"], body["provider_zone"]
        subject = f"negotiations/{identifier}"
        own, theirs = decision(consumer), decision(provider)
        await self.add(consumer, "decision", subject, decision=own, effect="allow", request=request)
        heard = dsse(consumer, {"decision": own, "effect": "allow", "held_by": ""})
        await self.add(
            provider, "decision", subject, decision=theirs, effect="allow", request=request, peer_decision=heard,
            offer=dsse(provider, body),
        )  # fmt: skip
        await self.add(
            consumer, "agreement", f"agreements/{identifier}", outcome="countersigned",
            agreement=dsse(provider, body, 2), peer_decision=dsse(provider, {"decision": theirs}),
        )  # fmt: skip
        await self.add(
            provider, "agreement", f"agreements/{identifier}", outcome="in_force", agreement=dsse(provider, body, 2)
        )
        return body

    def receipt(self, zone: str, identifier: str, agreement: str, **change: Any) -> dict[str, Any]:
        """One side's receipt."""
        return dsse(
            zone,
            {
                "agreement": agreement, "bytes": 1000, "checkpoint": self.note(zone), "chunks": 1,
                "ended_at": 1800000001, "root": DIGEST, "rows": 10, "side": "consumer", "started_at": 1800000000,
                "transfer": identifier, "version": VERSION, "view": VIEW, **change,
            },
        )  # fmt: skip

    async def transfer(
        self, identifier: str, agreement: dict[str, Any], *, until: str = "receipt", **change: Any
    ) -> None:
        """A transfer, up to a step: A3, B3, A4, B4 or receipt; the provider's words may be changed."""
        consumer, provider = agreement["consumer_zone"], agreement["provider_zone"]
        subject = f"transfers/{identifier}"
        begun = {"agreement": agreement["id"], "chunks": 1, "first_chunk": 0, "version": VERSION, "view": VIEW}
        done = {
            "agreement": agreement["id"], "bytes": 1000, "chunks": 1, "root": DIGEST, "rows": 10, "version": VERSION,
            "view": VIEW,
        }  # fmt: skip
        steps = ["A3", "B3", "A4", "B4", "receipt"]
        for step in steps[: steps.index(until) + 1]:
            if step == "A3":
                await self.add(consumer, "transfer.started", subject, decision=decision(consumer), **begun)
            elif step == "B3":
                await self.add(provider, "transfer.started", subject, decision=decision(provider), **begun)
            elif step == "A4":
                ours = self.receipt(consumer, identifier, agreement["id"])
                await self.add(consumer, "transfer.completed", subject, receipt=ours, **done)
            elif step == "B4":
                theirs = self.receipt(provider, identifier, agreement["id"], side="provider")
                await self.add(provider, "transfer.completed", subject, receipts=[ours, theirs], **{**done, **change})
            else:
                await self.add(consumer, "receipt", subject, receipt=theirs)

    async def refuse(self, identifier: str, *, resource: str = "datasets/patients", remedy: str = "") -> None:
        """The provider's zone refuses; both ledgers say so."""
        finding = {**FINDING, "remedy": remedy or FINDING["remedy"]}
        own, theirs = decision(CYBERJAYA), decision(LINGANG, "deny", [finding])
        request = {"participant": UM, "purpose": "research", "resource": resource, "version": VERSION}
        subject = f"negotiations/{identifier}"
        await self.add(CYBERJAYA, "decision", subject, decision=own, effect="allow", request=request)
        heard = dsse(LINGANG, {"decision": theirs, "effect": "deny", "held_by": ""})
        await self.add(LINGANG, "decision", subject, decision=theirs, effect="deny", peer_decision=heard)
        await self.add(CYBERJAYA, "decision", subject, effect="deny", peer_decision=heard)

    async def run(self, identifier: str, *, model: str = "models/classifier", change: str = DIGEST) -> None:
        """A run of one round that cyberjaya starts; the participant takes in what `change` says."""
        subject = f"runs/{identifier}"
        datasets = [
            {"owner": UM, "resource": "datasets/patients", "rows": 208, "version": VERSION, "zone": CYBERJAYA},
            {"owner": LAB, "resource": "datasets/wards", "rows": 247, "version": "12" * 32, "zone": LINGANG},
        ]
        spec = {"app": {"name": "linear", "version": "1"}, "purpose": "research", "result": {"licence": "CC-BY-4.0"}}
        agreed = {
            "coordinator_zone": CYBERJAYA, "datasets": datasets, "id": identifier, "participant": UM,
            "participant_zone": LINGANG, "spec": {**spec, "rounds": 1, "strategy": "FedAvg"},
        }  # fmt: skip
        both = dsse(CYBERJAYA, agreed, 2)
        await self.add(
            CYBERJAYA, "job.submitted", subject, participant=UM, purpose="research", rounds=1, strategy="FedAvg",
            app={"digest": DIGEST, "name": "linear", "version": "1"},
        )  # fmt: skip
        await self.add(CYBERJAYA, "run.agreed", subject, outcome="signed", agreement=dsse(CYBERJAYA, agreed))
        await self.add(LINGANG, "run.agreed", subject, outcome="in_force", agreement=both)
        await self.add(CYBERJAYA, "run.started", subject, agreement=both)
        sent = {"bytes": 376, "digest": DIGEST, "what": "update", "round": 1}
        for zone, resource, recipient in ((LINGANG, "datasets/wards", UM), (CYBERJAYA, "datasets/patients", LAB)):
            other = CYBERJAYA if zone == LINGANG else LINGANG
            what = "update" if zone == LINGANG else "outcome"
            release = {**sent, "what": what, "resource": resource, "recipient": recipient, "version": VERSION}
            await self.add(
                zone, "release", subject, direction="out", effect="allow", decision=decision(zone), **release
            )
            said = {**sent, "devices": [DEVICE], "examples": 247, "smallest_group": 247, "run": identifier}
            taken = {**sent, "what": what, "digest": change if what == "outcome" else DIGEST}
            await self.add(other, "round.accepted", subject, direction="in", statement=dsse(zone, said), **taken)
        for zone in (CYBERJAYA, LINGANG):
            version = hashlib.sha256(zone.encode()).hexdigest()
            await self.add(
                zone, "run.completed", subject, artifact=DIGEST, digest=DIGEST, model=model, rounds=1, version=version,
                platforms=[{"zone": CYBERJAYA, "country": "MY", "devices": [DEVICE]}] if zone == CYBERJAYA else [],
            )  # fmt: skip
