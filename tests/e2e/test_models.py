"""Models take the datasets' road: signed and published in one zone, decided by both, pulled as files in the other."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.signing import sign_model
from gateway.config import load_profile
from gateway.errors import (
    DataFileError,
    DeniedError,
    InputError,
    IntegrityError,
    ManifestError,
    NotFoundError,
    ReviewError,
    TdzError,
)
from gateway.model.artifact import FileEntry
from gateway.model.submission import ModelPublication, seal_of
from gateway.sdk.credentials import load_signing_identity
from gateway.sdk.models import verify_directory
from gateway.storage.model_chunks import MODEL_SCHEMA
from tests.e2e.material import CYBERJAYA, LINGANG, next_id
from tests.e2e.models import TRAINED_ON, model_files, own_provenance, provenance, publication
from tests.e2e.small import Small, entries, of_subject, recorded
from tests.e2e.test_flight import connect

pytestmark = pytest.mark.e2e


async def published(own: Small, directory: Path, *, signed: bool = True, **changed: Any) -> str:
    """A model of the laboratory's, with provenance signed by itself, or with none; its resource name."""
    model_id = next_id("model")
    document = publication(model_id, **changed)
    if signed:
        lab = own.corridor.zone(LINGANG).profile("lab")
        document["provenance"] = own_provenance(lab, directory, model_id, directory.parent)
    return (await (await own.lab()).publish_model(directory, document)).name


async def test_a_signed_model_with_provenance_crosses_and_is_the_same_on_the_other_side(small, tmp_path):
    async with small() as own:
        source = model_files(tmp_path / "weights")
        name = await published(own, source)
        um = await own.um()
        shown = await um.model(name)
        assert shown.lineage()["provenance"] == "verified"
        assert shown.lineage()["training"]["data"] == [TRAINED_ON]
        assert [file.name for file in shown.files] == ["README.md", "model.safetensors", "nested/config.json"]
        assert [each.name for each in await um.models()] == [name]
        access = await um.request(name, purpose="research")
        pull = await access.pull()
        target = await pull.to_directory(tmp_path / "pulled")
        for file in ("model.safetensors", "nested/config.json", "README.md"):
            assert (target / file).read_bytes() == (source / file).read_bytes()
        verified = verify_directory(target, ca=own.corridor.zone(LINGANG).layout.ca)
        assert (verified.artifact, verified.signer, verified.files) == (shown.artifact, "tdz://lingang/partner/lab", 3)
        with pytest.raises(IntegrityError):
            verify_directory(target, ca=own.corridor.zone(CYBERJAYA).layout.ca)
        for gateway in own.gateways.values():
            done = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.completed"))
            assert (done["body"]["version"], done["body"]["rows"]) == (shown.version, pull.chunks)
        agreed = await recorded(own.b, lambda entry: entry["kind"] == "agreement")
        assert agreed["body"]["outcome"] == "in_force"
        # The provider's decision says what the model is made from; the other zone's mirror has it too.
        decided = await recorded(own.b, lambda entry: entry["kind"] == "decision")
        made = decided["body"]["lineage"]
        assert (made["artifact"], made["provenance"]) == (shown.artifact, "verified")
        assert (made["data"], made["data_count"]) == ([{"digest": TRAINED_ON["digest"]}], 1)
        assert [(each["site"], each["country"]) for each in made["runs"]] == [("lingang", "CN")]
        assert made["runs"][0]["devices"][0]["sku"] == "EPYC"


async def test_a_model_without_provenance_waits_for_a_person_in_both_zones(small, tmp_path):
    async with small() as own:
        name = await published(own, model_files(tmp_path / "weights"), signed=False)
        um = await own.um()
        assert (await um.model(name)).lineage()["provenance"] == "missing"
        with pytest.raises(ReviewError) as held:
            await um.request(name, purpose="research")
        assert "TDZ-PROVENANCE" in {finding[0] for finding in held.value.findings}
        assert not [entry for entry in await entries(own.b) if entry["kind"] == "agreement"]


async def test_provenance_of_an_outside_signer_counts_from_when_an_administrator_trusts_the_key(small, tmp_path):
    async with small() as own:
        source, model_id = model_files(tmp_path / "weights"), next_id("outside")
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        document = publication(model_id, provenance=provenance(source, model_id, tmp_path, key=key))
        lab, um = await own.lab(), await own.um()
        name = (await lab.publish_model(source, document)).name
        assert (await um.model(name)).lineage()["provenance"] == "unverified"
        own.clock.ahead += 2
        for zone in (LINGANG, CYBERJAYA):
            async with own.admin(zone) as admin:
                added = await admin.add_signer(pem, "Outside Laboratory")
                assert [each.fingerprint for each in await admin.signers()] == [added.fingerprint]
            entry = await recorded(own.gateways[zone], lambda e: e["kind"] == "signer.added")
            assert entry["body"]["key"] == added.fingerprint
            assert "Outside" not in json.dumps(entry)
        assert (await um.model(name)).lineage()["provenance"] == "unverified"  # published before the key was trusted
        own.clock.ahead += 2
        await lab.publish_model(source, document)
        own.clock.ahead += 301  # the card that cyberjaya keeps has ended
        assert (await um.model(name)).lineage()["provenance"] == "verified"
        async with own.admin(CYBERJAYA) as admin:
            await admin.remove_signer(added.fingerprint)
        assert (await um.model(name)).lineage()["provenance"] == "verified"  # it was trusted then


async def test_publishing_again_stores_nothing_and_a_finer_model_shares_its_bases_chunks(small, tmp_path):
    async with small() as own:
        lab = await own.lab()
        source = model_files(tmp_path / "weights")
        first = await lab.publish_model(source, publication("one-model"))
        assert (await lab.publish_model(source, publication("one-model"))).version == first.version
        stored = sum(1 for _ in own.corridor.zone(LINGANG).layout.chunks.glob("*/*"))
        tuned = tmp_path / "tuned"
        tuned.mkdir()
        data = bytearray((source / "model.safetensors").read_bytes())
        data[-4:] = b"\0\0\0\0"  # the last number of the head
        (tuned / "model.safetensors").write_bytes(data)
        await lab.publish_model(tuned, publication("tuned-model"))
        assert sum(1 for _ in own.corridor.zone(LINGANG).layout.chunks.glob("*/*")) == stored + 1


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("pytorch_model.bin", b"PK\x03\x04"),
        ("weights.pkl", b"\x80\x04K\x01."),
        ("run.sh", b"#!/bin/sh\n"),
        ("config.json", b"\x7fELF\x02\x01\x01"),
        ("other.safetensors", b"\xff" * 64),
    ],
)
async def test_what_no_model_may_hold_is_refused_by_name_before_anything_is_sent(small, tmp_path, file, data):
    async with small() as own:
        source = model_files(tmp_path / "weights")
        (source / file).write_bytes(data)
        with pytest.raises(DataFileError, match=file):
            await (await own.lab()).publish_model(source, publication("hostile"))
        assert await (await own.lab()).models() == []


async def test_links_out_of_the_directory_are_refused(small, tmp_path):
    async with small() as own:
        source = model_files(tmp_path / "weights")
        (source / "passwd.json").symlink_to("/etc/passwd")
        with pytest.raises(DataFileError, match=r"passwd\.json"):
            await (await own.lab()).publish_model(source, publication("hostile"))


async def test_other_bytes_than_were_signed_are_refused_and_nothing_appears(small, tmp_path, monkeypatch):
    async with small() as own:
        source = model_files(tmp_path / "weights")
        real = ModelDirectory.runs

        def forged(self: ModelDirectory, hashed: Any) -> Any:
            for run in real(self, hashed):
                if run[:2] == b"# ":
                    run[0] ^= 1
                yield run

        monkeypatch.setattr(ModelDirectory, "runs", forged)
        with pytest.raises(TdzError, match=r"README\.md"):
            await (await own.lab()).publish_model(source, publication("forged"))
        assert await (await own.lab()).models() == []


def runs_of(files: ModelDirectory) -> tuple[list[bytes], list[FileEntry]]:
    hashed: list[FileEntry] = []
    return [bytes(run) for run in files.runs(hashed)], hashed


async def test_a_flight_client_publishes_a_model_and_nothing_appears_before_its_seal(small, tmp_path):
    """Announcement, rows and seal over the protocol of others, framed by pyarrow, also as no client of ours does."""
    async with small() as own:
        lab_profile = load_profile(own.corridor.zone(LINGANG).profile("lab"))
        signing = load_signing_identity(lab_profile)
        files = ModelDirectory(model_files(tmp_path / "weights"))
        runs, hashed = runs_of(files)
        document = {name: value for name, value in publication("put").items() if name != "provenance"}
        announcement = ModelPublication.model_validate(document).announce(files.plan())
        signed = sign_model(hashed, name="put", key=signing.key, chain=signing.chain)
        seal = seal_of(signed.artifact, hashed, signed.bundle, ())

        def put(*, sealed: bytes | None, more: bool = False, compression: str | None = None) -> Any:
            options = flight.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=compression))
            with connect(own.corridor.zone(LINGANG).profile("lab")) as client:
                writer, reader = client.do_put(
                    flight.FlightDescriptor.for_command(announcement.encode()), MODEL_SCHEMA, options
                )
                with writer:
                    for run in runs:
                        writer.write_batch(pa.record_batch([pa.array([run], pa.large_binary())], schema=MODEL_SCHEMA))
                    for metadata in [] if sealed is None else [sealed] * (1 + more):
                        writer.write_metadata(pa.py_buffer(metadata))
                    writer.done_writing()
                    return json.loads(reader.read().to_pybytes())

        lab = await own.lab()
        for sealed, more, text in (
            (None, False, "before it was sealed"),
            (seal.encode(), True, "after the model's seal"),
            (b"{}", False, "artifact"),
            (seal.model_copy(update={"digests": ("0" * 64, *seal.digests[1:])}).encode(), False, "not the file"),
        ):
            with pytest.raises((pa.ArrowException, flight.FlightError), match=text):
                await asyncio.to_thread(put, sealed=sealed, more=more)
            assert await lab.models() == []
        plain = await asyncio.to_thread(put, sealed=seal.encode())
        compressed = await asyncio.to_thread(put, sealed=seal.encode(), compression="lz4")
        assert (plain["name"], plain["version"]) == ("models/put", compressed["version"])
        assert compressed["chunks_new"] == 0
        assert (await lab.model("put")).artifact == signed.artifact


async def test_another_institutions_signature_does_not_publish(small, tmp_path, monkeypatch):
    """A key of the other zone's partner signs; it is trusted here, and still the model is not its publisher's."""
    async with small() as own:
        stranger = load_signing_identity(load_profile(own.corridor.zone(CYBERJAYA).profile("um")))
        monkeypatch.setattr("gateway.sdk.models.load_signing_identity", lambda _profile: stranger)
        with pytest.raises(TdzError, match="signed by"):
            await (await own.lab()).publish_model(model_files(tmp_path / "weights"), publication("stolen"))


async def test_a_model_is_hidden_from_whom_its_terms_do_not_offer_it_to(small, tmp_path):
    async with small() as own:
        document = publication("hidden-model")
        del document["terms"]
        await (await own.lab()).publish_model(model_files(tmp_path / "weights"), document)
        um = await own.um()
        with pytest.raises(NotFoundError):
            await um.model("hidden-model")
        with pytest.raises(NotFoundError, match="models/hidden-model"):
            await um.request("models/hidden-model", purpose="research")
        with pytest.raises(NotFoundError):
            await um.dataset("models/hidden-model")


async def test_a_models_terms_name_the_one_action_that_there_is(small, tmp_path):
    async with small() as own:
        terms = {"offered_to": {"zones": [CYBERJAYA]}, "purposes": ["research"], "actions": ["run_job"]}
        with pytest.raises(ManifestError, match="transfer_model"):
            await published(own, model_files(tmp_path / "weights"), terms=terms)


async def test_another_purpose_than_the_terms_name_is_refused(small, tmp_path):
    async with small() as own:
        name = await published(own, model_files(tmp_path / "weights"))
        with pytest.raises(DeniedError) as refused:
            await (await own.um()).request(name, purpose="regulatory_reporting")
        assert "TDZ-TERMS" in {finding[0] for finding in refused.value.findings}


async def test_any_flight_client_can_pull_a_model_and_knows_which_chunks_make_which_file(small, tmp_path):
    async with small() as own:
        source = model_files(tmp_path / "weights")
        name = await published(own, source)
        access = await (await own.um()).request(name, purpose="research")
        profile = load_profile(own.corridor.zone(CYBERJAYA).profile("um"))

        def pull() -> dict[str, bytes]:
            with flight.FlightClient(
                f"grpc+tls://{profile.gateway}",
                tls_root_certs=profile.ca.read_bytes(),
                cert_chain=profile.cert.read_bytes(),
                private_key=profile.key.read_bytes(),
            ) as client:
                info = client.get_flight_info(flight.FlightDescriptor.for_path("agreements", access.agreement))
                told = json.loads(info.app_metadata)
                table = client.do_get(info.endpoints[0].ticket).read_all()
                chunks = [value.as_py() for value in table["data"]]
                files = {}
                for file in told["model"]["files"]:
                    files[file["name"]] = b"".join(chunks[: file["chunks"]])
                    chunks = chunks[file["chunks"] :]
                assert chunks == []
                return files

        import asyncio

        files = await asyncio.to_thread(pull)
        assert files == {path: (source / path).read_bytes() for path in files}
        assert len(files) == 3


async def test_a_dataset_goes_to_a_file_and_a_model_to_a_new_directory(small, tmp_path):
    async with small() as own:
        um = await own.um()
        data = await (await um.request(await own.offered(), purpose="research")).pull()
        with pytest.raises(InputError):
            await data.to_directory(tmp_path / "data")
        model = await (await um.request(await published(own, model_files(tmp_path / "w")), purpose="research")).pull()
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        with pytest.raises(InputError, match="not empty"):
            await model.to_directory(tmp_path / "full")
        await model.to_directory(tmp_path / "new")
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


async def test_a_signing_certificate_that_ended_signs_nothing_new(small, tmp_path):
    async with small() as own:
        own.clock.ahead += 0
        profile = load_profile(own.corridor.zone(LINGANG).profile("lab"))
        with pytest.raises(TdzError, match="outside its dates"):
            load_signing_identity(profile, now=int(time.time()) + 100 * 86_400)


async def test_a_card_of_many_files_crosses(small, tmp_path):
    """The signature of 300 files makes a card that no ledger entry could hold; cards have a limit of their own."""
    async with small() as own:
        source = model_files(tmp_path / "weights", size=1_000)
        for number in range(300):
            (source / f"vocabulary-{number:03}.json").write_text("{}")
        name = await published(own, source)
        um = await own.um()
        assert [each.name for each in await um.models(scope="peer")] == [name]
        pull = await (await um.request(name, purpose="research")).pull()
        target = await pull.to_directory(tmp_path / "pulled")
        assert len([path for path in target.iterdir() if path.name.startswith("vocabulary-")]) == 300
