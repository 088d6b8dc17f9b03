"""What policy hears of a model, for each state of its signature and its provenance."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.artifacts.appraisal import appraise, read_lineage
from gateway.artifacts.provenance import (
    BaseModelUsed,
    CodeUsed,
    DatasetUsed,
    Platform,
    PlatformReport,
    TrainingRecord,
    platform_statement,
    read_provenance,
    training_statement,
)
from gateway.artifacts.statement import artifact_id, model_statement, sign_statement
from gateway.artifacts.trust import Trust
from gateway.errors import InputError, IntegrityError
from gateway.identity.keys import new_tls_key
from gateway.model import canonical
from gateway.model.artifact import FileEntry, ModelDescription
from gateway.model.participant import Role
from gateway.model.policy_facts import Device, ModelFacts
from tests.unit.artifacts.conftest import AT, Publisher, Zone, trust_key

FILES = (FileEntry(name="m.safetensors", bytes=9, digest="c" * 64, chunks=1),)
ARTIFACT = artifact_id(model_statement("m", FILES))
VERSION = "9" * 64
DEVICE = Device(
    sku="A100", vendor="NVIDIA", vendor_country="US", eccn="3A090.a", count=8, tops=624, bits=16, die_mm2=826
)


def record(**changed: Any) -> TrainingRecord:
    given = {
        "builder": "tdz://cyberjaya/gateway/gateway",
        "invocation": "run-1",
        "started": AT - 600,
        "finished": AT - 60,
        "code": CodeUsed(name="linear", digest="4" * 64),
        "parameters": {"rounds": 3},
        "base": BaseModelUsed(id="org/base", digest="5" * 64, licence="Apache-2.0", licence_version="2.0"),
        "data": (dataset("6"), dataset("7")),
        "sites": ("cyberjaya", "lingang"),
        "metrics": {"accuracy": "0.96"},
    }
    return TrainingRecord(**{**given, **changed})


def dataset(digit: str, **changed: Any) -> DatasetUsed:
    return DatasetUsed.model_validate(
        {"name": f"datasets/d{digit}", "digest": digit * 64, "class": "general", "subjects": 569, **changed}
    )


def report(site: str = "cyberjaya", invocation: str = "run-1", **changed: Any) -> PlatformReport:
    given = {"site": site, "country": "MY", "hired": "no", "devices": (DEVICE,), "device_hours": 12, "exaops": 5}
    return PlatformReport(builder="tdz:x", invocation=invocation, platform=Platform(**{**given, **changed}))


def statements(*said: TrainingRecord | PlatformReport, artifact: str = ARTIFACT) -> list[bytes]:
    return [
        training_statement(item, name="m", artifact=artifact)
        if isinstance(item, TrainingRecord)
        else platform_statement(item, name="m", artifact=artifact)
        for item in said
    ]


WHOLE = statements(record(), report(), report("lingang", country="CN"))


def facts(publisher: Publisher, trust: Trust, provenance: list[bytes], at: int = AT, **declared: Any) -> ModelFacts:
    description = publisher.submit(FILES, provenance=provenance, **declared).describe()
    return appraise(description, version=VERSION, published_at=at, trust=trust)


def assert_empty(found: ModelFacts, state: str) -> None:
    assert found.provenance == state
    assert found.training.runs == found.training.data == ()
    assert found.base.id == found.base.licence == found.base.licence_version == ""


def test_verified_provenance_fills_every_fact(zone: Zone, publisher: Publisher) -> None:
    found = facts(publisher, zone.trust, WHOLE, memorisation_test="passed")
    assert found.provenance == "verified"
    assert (found.id, found.digest, found.format, found.openness) == ("m", VERSION, "safetensors", "published")
    assert (found.end_use, found.memorisation_test) == ("civil", "passed")
    assert found.base.model_dump() == {"id": "org/base", "licence": "Apache-2.0", "licence_version": "2.0"}
    assert [(run.site, run.country) for run in found.training.runs] == [("cyberjaya", "MY"), ("lingang", "CN")]
    assert all(run.devices == (DEVICE,) and run.attestation == "signed" for run in found.training.runs)
    assert [(item.digest[0], item.class_, item.subjects) for item in found.training.data] == [
        ("6", "general", 569),
        ("7", "general", 569),
    ]
    canonical.encode(found.document())


def test_what_the_statements_say_can_be_shown_with_their_signers(zone: Zone, publisher: Publisher) -> None:
    description = publisher.submit(FILES, provenance=WHOLE).describe()
    said = read_lineage(description, published_at=AT, trust=zone.trust)
    assert [item for item, _ in said] == [record(), report(), report("lingang", country="CN")]
    assert {signer.name for _, signer in said} == {"tdz://cyberjaya/partner/um"}


def test_a_model_without_provenance_is_missing_it(zone: Zone, publisher: Publisher) -> None:
    found = facts(publisher, zone.trust, [])
    assert_empty(found, "missing")
    assert (found.openness, found.end_use) == ("published", "civil")


@pytest.mark.parametrize("provenance", [[], WHOLE])
def test_of_an_unverified_model_nothing_is_believed(publisher: Publisher, provenance: list[bytes]) -> None:
    found = facts(publisher, Trust({}), provenance, memorisation_test="passed")
    assert_empty(found, "unverified")
    assert (found.openness, found.end_use, found.memorisation_test) == ("unknown", "unknown", "none")


def test_a_signature_of_another_artifact_is_unverified(zone: Zone, publisher: Publisher) -> None:
    description = publisher.submit(FILES, provenance=WHOLE).describe()
    other = ModelDescription(**{**dict(description), "artifact": "0" * 64})
    assert_empty(appraise(other, version=VERSION, published_at=AT, trust=zone.trust), "unverified")


BROKEN: dict[str, list[bytes]] = {
    "about another artifact": statements(record(), report(), report("lingang"), artifact="0" * 64),
    "without a site's report": statements(record(), report()),
    "with a report of another training": statements(record(), report(), report("lingang", "run-2")),
    "with a report left over": [*WHOLE, *statements(report("third"))],
    "with reports alone": statements(report()),
    "with two reports of a site": [*WHOLE, *statements(report(hired="yes"))],
    "with two statements of one training": [*WHOLE, *statements(record(base=None))],
    "with two base models": [
        *WHOLE,
        *statements(
            record(
                invocation="run-2", sites=("cyberjaya",), base=BaseModelUsed(id="x", licence="", licence_version="")
            ),
            report(invocation="run-2"),
        ),
    ],
    "with one dataset in two ways": statements(
        record(data=(dataset("6"), dataset("6", subjects=0)), sites=("cyberjaya",)), report()
    ),
    "of another type": [WHOLE[0].replace(b"slsa.dev/provenance/v1", b"slsa.dev/provenance/v0"), *WHOLE[1:]],
    "of another build": [WHOLE[0].replace(b"tdz:build-type/training/v1", b"tdz:build-type/training/v2"), *WHOLE[1:]],
    "without devices": [WHOLE[0], WHOLE[1].replace(b'"ACCELERATOR"', b'"SECURE_BOOT"'), WHOLE[2]],
    "with an unknown code": [WHOLE[0], WHOLE[1].replace(b"3A090.a", b"3A090.z"), WHOLE[2]],
    "with a negative count": [WHOLE[0], WHOLE[1].replace(b'"count":8', b'"count":-8'), WHOLE[2]],
    "with a fraction": [WHOLE[0], WHOLE[1].replace(b'"count":8', b'"count":8.5'), WHOLE[2]],
    "with a class that is none": [WHOLE[0].replace(b'"class":"general"', b'"class":"open"'), *WHOLE[1:]],
    "with an unknown dependency": [WHOLE[0].replace(b'"kind":"code"', b'"kind":"tool"'), *WHOLE[1:]],
    "with a broken digest": [WHOLE[0].replace(b"6" * 64, b"6" * 63), *WHOLE[1:]],
    "with a time that is none": [WHOLE[0].replace(b"startedOn", b"startedAt"), *WHOLE[1:]],
    "with a lone surrogate": [WHOLE[0].replace(b"Apache-2.0", b"\\ud800"), *WHOLE[1:]],
    "with a member twice": [WHOLE[0].replace(b'"_type"', b'"_type":"x","_type"'), *WHOLE[1:]],
    "that is no JSON": [b"{", *WHOLE[1:]],
    "that is a list": [b"[]", *WHOLE[1:]],
    "that nests without end": [b"[" * 20_000, *WHOLE[1:]],
    "that is empty": [b"", *WHOLE[1:]],
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_provenance_is_unverified_and_nothing_of_it_is_believed(
    zone: Zone, publisher: Publisher, case: str
) -> None:
    found = facts(publisher, zone.trust, BROKEN[case])
    assert_empty(found, "unverified")
    canonical.encode(found.document())


def envelope_mutations(whole: str) -> dict[str, Callable[[dict[str, Any]], object]]:
    return {
        "another payload type": lambda e: e.update(payloadType="application/json"),
        "no signature": lambda e: e.update(signatures=[]),
        "five signatures": lambda e: e.update(signatures=e["signatures"] * 5),
        "a broken signature": lambda e: e["signatures"][0].update(sig="AAAA"),
        "another statement's signature": lambda e: e["signatures"][0].update(
            sig=json.loads(whole)["signatures"][0]["sig"]
        ),
        "no certificate": lambda e: e["signatures"][0].pop("cert"),
        "a broken certificate": lambda e: e["signatures"][0].update(cert="-----BEGIN CERTIFICATE-----"),
        "a long certificate": lambda e: e["signatures"][0].update(cert="x" * 20_000),
        "another payload": lambda e: e.update(payload="e30="),
        "a payload that is no base64": lambda e: e.update(payload="*"),
        "a number": lambda e: e.update(payload=7),
    }


@pytest.mark.parametrize("case", list(envelope_mutations("")))
def test_a_broken_envelope_is_unverified(zone: Zone, publisher: Publisher, case: str) -> None:
    description = publisher.submit(FILES, provenance=WHOLE).describe()
    texts = list(description.provenance)
    envelope = json.loads(texts[0])
    envelope_mutations(texts[1])[case](envelope)
    texts[0] = json.dumps(envelope)
    changed = ModelDescription(**{**dict(description), "provenance": tuple(texts)})
    assert_empty(appraise(changed, version=VERSION, published_at=AT, trust=zone.trust), "unverified")


def test_provenance_of_an_outside_lab_counts_once_its_key_is_trusted(zone: Zone, publisher: Publisher) -> None:
    """Signed elsewhere with a key that no zone certified, published by a partner who signed the files."""
    lab = new_tls_key()
    description = publisher.submit(FILES).describe()
    texts = tuple(sign_statement(statement, key=lab) for statement in WHOLE)
    outside = ModelDescription(**{**dict(description), "provenance": texts})

    def state(trust: Trust) -> str:
        return appraise(outside, version=VERSION, published_at=AT, trust=trust).provenance

    assert state(zone.trust) == "unverified"
    assert state(Trust(zone.trust.zones, trust_key(lab).keys)) == "verified"
    assert state(Trust(zone.trust.zones, trust_key(lab, AT + 1).keys)) == "unverified"
    assert state(Trust(zone.trust.zones, trust_key(lab, AT - 9, AT).keys)) == "unverified"


def test_each_site_may_sign_its_own_report(zone: Zone, publisher: Publisher) -> None:
    gateway = zone.publisher("gateway", Role.GATEWAY)
    description = publisher.submit(FILES).describe()
    texts = tuple(
        sign_statement(statement, key=who.key, chain=who.chain)
        for statement, who in zip(WHOLE, (gateway, gateway, publisher), strict=True)
    )
    changed = ModelDescription(**{**dict(description), "provenance": texts})
    assert appraise(changed, version=VERSION, published_at=AT, trust=zone.trust).provenance == "verified"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_statements_never_raise_anything_but_a_refusal(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(
            st.sampled_from(list(b'{}[]":,019nulltrue \\'))
        )
    try:
        read_provenance(bytes(changed), ARTIFACT)
    except IntegrityError:
        return


@settings(max_examples=80, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)))
def test_values_of_another_type_are_refused_wherever_they_stand(value: Any) -> None:
    for text in WHOLE[:2]:
        document = json.loads(text)
        for path in list(paths(document)):
            holder = document
            for step in path[:-1]:
                holder = holder[step]
            kept, holder[path[-1]] = holder[path[-1]], value
            try:
                read_provenance(json.dumps(document).encode(), ARTIFACT)
            except IntegrityError:
                pass
            finally:
                holder[path[-1]] = kept


def paths(value: Any, at: tuple[Any, ...] = ()) -> Any:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*at, key))


def test_provenance_that_no_reader_could_hold_is_not_written() -> None:
    with pytest.raises(InputError, match="numbers as texts"):
        training_statement(record(parameters={"rate": 0.1}), name="m", artifact=ARTIFACT)
    with pytest.raises(InputError, match="too long"):
        training_statement(record(parameters={"x": "y" * 60_000}), name="m", artifact=ARTIFACT)
