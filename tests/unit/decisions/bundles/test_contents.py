"""What a bundle may say: its manifest, its roots, its modules and its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.decisions.bundles.bundle import build, part_roots, read_directory, verify
from gateway.decisions.bundles.contents import package_of
from gateway.decisions.bundles.manifest import BundleManifest, manifests_overlap
from gateway.decisions.policy_set import shipped
from gateway.errors import ConfigError, InputError, IntegrityError, PermissionDeniedError, TdzError
from tests.unit.decisions.bundles import material
from tests.unit.decisions.bundles.material import LEGAL, NOW, UNTIL, ZONE, key, keys, manifest, raw

ROOT = "tdz/zone/lingang"
MODULE = b"package tdz.zone.lingang\n\nfindings := set()\n\nobligations := set()\n"
DOCUMENT = {
    "revision": "3",
    "roots": [ROOT],
    "rego_version": 1,
    "metadata": {"legal_as_of": LEGAL, "valid_until": UNTIL},
}


def zone_files(document: Any = DOCUMENT, **more: bytes) -> dict[str, bytes]:
    named = {name.replace("__", "/") + ".rego": content for name, content in more.items()}
    return {".manifest": json.dumps(document).encode(), f"{ROOT}/rules.rego": MODULE, **named}


def read(data: bytes, *, now: int = NOW, zone: str = "lingang") -> Any:
    return verify(data, keys(), zone=zone, now=now)


def refused(files: Mapping[str, bytes], kind: type[TdzError], match: str, **how: Any) -> None:
    with pytest.raises(kind, match=match):
        read(raw(dict(files), **how))


def test_a_zones_own_part_is_read() -> None:
    found = read(raw(zone_files()))
    assert (found.slot, found.manifest.revision, found.key.keyid) == ("zone", 3, ZONE)
    assert found.files == {f"{ROOT}/rules.rego": MODULE}


def test_the_shipped_baseline_of_each_zone_is_built_and_read() -> None:
    for zone in ("lingang", "cyberjaya"):
        found = read(material.baseline(zone, 7), zone=zone)
        assert found.slot == "baseline"
        assert not any(
            name.startswith("tdz/zone/") for name in found.files
        )  # a zone's own rules are not the vendor's to sign
        assert set(found.files) == set(read_directory(shipped(), part_roots(shipped(), "baseline", zone)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"revision": 3}, "serial number"),
        ({"revision": "03"}, "serial number"),
        ({"revision": "1.2"}, "serial number"),
        ({"revision": ""}, "serial number"),
        ({"roots": []}, "list of 1"),
        ({"roots": [""]}, "not a path"),
        ({"roots": ["/tdz"]}, "not a path"),
        ({"roots": ["tdz/../x"]}, "not a path"),
        ({"roots": [ROOT, ROOT]}, "twice"),
        ({"roots": [ROOT, f"{ROOT}/more"]}, "overlap"),
        ({"roots": ["example"]}, "no part"),
        ({"roots": ["tdz/zone"]}, "no part"),
        ({"rego_version": 0}, "rego_version"),
        ({"rego_version": True}, "rego_version"),
        ({"file_rego_versions": {"/a.rego": 0}}, "unknown"),
        ({"wasm": []}, "unknown"),
        ({"metadata": {}}, "metadata"),
        ({"metadata": {"legal_as_of": LEGAL, "valid_until": UNTIL, "x": 1}}, "metadata"),
        ({"metadata": {"legal_as_of": UNTIL, "valid_until": LEGAL}}, "the first before"),
        ({"metadata": {"legal_as_of": "1", "valid_until": UNTIL}}, "Unix seconds"),
    ],
)
def test_a_manifest_that_is_not_complete_and_plain_is_refused(change: dict[str, Any], match: str) -> None:
    refused(zone_files({**DOCUMENT, **change}), IntegrityError, match)


def test_a_bundle_without_a_manifest_is_refused() -> None:
    refused({f"{ROOT}/rules.rego": MODULE}, IntegrityError, "no .manifest")


def test_a_bundle_out_of_date_is_refused_from_its_last_second_on() -> None:
    data = raw(zone_files())
    assert read(data, now=UNTIL - 1)
    with pytest.raises(IntegrityError, match="out of date"):
        read(data, now=UNTIL)


@pytest.mark.parametrize("root", ["tdz/zone/cyberjaya", "tdz/main", "tdz/packs/cn", "tdz/lib"])
def test_the_zones_key_signs_its_own_rules_alone(root: str) -> None:
    roots = [root] if root != "tdz/lib" else ["tdz/lib", "tdz/main"]
    refused(zone_files({**DOCUMENT, "roots": roots}), PermissionDeniedError, "zone's key may not sign")


def test_the_vendors_key_does_not_sign_a_zones_rules() -> None:
    refused(zone_files(), PermissionDeniedError, "vendor's key may not", private=key("vendor"), keyid=material.VENDOR)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rules", "package tdz.main.house\n"),
        ("rules", "package tdz.zone.cyberjaya\n"),
        ("rules", 'package tdz.zone["lingang2"]\n'),
        ("tdz__zone__lingang__more", "package tdz.main\n\nallow := true\n"),
        ("rules", "package system.authz\n\ndefault allow := true\n"),
    ],
)
def test_a_package_outside_of_the_roots_is_refused_wherever_its_file_stands(name: str, text: str) -> None:
    refused(zone_files(**{name: text.encode()}), PermissionDeniedError, "outside of the bundle's roots")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "findings := set()\n",
        "package tdz.zone\n.lingang\n",
        "package tdz.zone # here\n# and here\n.lingang\n",
        'package tdz.zone\n["lingang"]\n',
        "package tdz.zone.lingang; x := 1\n",
        'package tdz.zone["a\\u0062"]\n',
        "package tdz.zone.lingang\n\npackage tdz.main\n",
        "package\ttdz.zone.lingang.\n",
        "import rego.v1\npackage tdz.zone.lingang\n",
    ],
)
def test_a_module_whose_package_is_not_plain_is_refused(text: str) -> None:
    refused(zone_files(extra=text.encode()), IntegrityError, "package declaration")


def test_the_package_is_found_behind_comments_and_in_brackets() -> None:
    assert package_of("a", '# METADATA\n# title: x\n\npackage tdz.zone["kuala-lumpur"] # mine\n\nx := 1\n') == (
        "tdz/zone/kuala-lumpur"
    )
    assert package_of("a", "package tdz.main") == "tdz/main"


@pytest.mark.parametrize(
    ("name", "content", "kind", "match"),
    [
        ("data.json", b'{"tdz":{"zone":{"lingang":{"a":1},"cyberjaya":{"a":1}}}}', PermissionDeniedError, "data at"),
        ("data.json", b'{"tdz":{"zone":{"lingang":3}}}', PermissionDeniedError, "data at"),
        ("data.json", b"[]", PermissionDeniedError, "data at"),
        ("tdz/lib/codes/data.json", b'{"X":{}}', PermissionDeniedError, "data at"),
        ("tdz/zone/lingang/data.yaml", b"a: 1", IntegrityError, "nothing else"),
        ("policy.wasm", b"\0asm", IntegrityError, "nothing else"),
        ("plan.json", b"{}", IntegrityError, "nothing else"),
        ("patch.json", b'{"data":[]}', IntegrityError, "nothing else"),
        (f"{ROOT}/rules_test.rego", MODULE, IntegrityError, "tests do not belong"),
        (f"{ROOT}/more.rego", b"\xff", IntegrityError, "UTF-8"),
        ("lingang/rules.rego", MODULE, IntegrityError, "have the place"),
        (f"{ROOT}/more.rego", MODULE + b'x := http.send({"url": "x"})\n', ConfigError, "http.send"),
        (f"{ROOT}/more.rego", MODULE + b"x := time.now_ns()\n", ConfigError, "time.now_ns"),
        (f"{ROOT}/more.rego", MODULE + b"x if input.request.urgency == 1\n", ConfigError, "request.urgency"),
        (f"{ROOT}/more.rego", MODULE + b'x if input["dataset"].cn["klass"] == 1\n', ConfigError, "dataset.cn.klass"),
        (f"{ROOT}/more.rego", MODULE + b"x if input.dataset.columns.name == 1\n", ConfigError, "columns.name"),
    ],
)
def test_what_does_not_belong_into_a_bundle_is_refused_and_named(
    name: str, content: bytes, kind: type[TdzError], match: str
) -> None:
    refused({**zone_files(), name: content}, kind, match)


def test_a_package_that_another_file_of_the_bundle_has_too_is_fine() -> None:
    found = read(raw({**zone_files(), f"{ROOT}/more.rego": b"package tdz.zone.lingang\n\nx := input.request.now\n"}))
    assert len(found.files) == 2


def test_data_that_opa_joined_is_cut_where_the_roots_begin() -> None:
    found = read(raw({**zone_files(), "data.json": b'{"tdz":{"zone":{"lingang":{"codes":{"A":{}}}}}}'}))
    assert found.files[f"{ROOT}/data.json"] == b'{"codes":{"A":{}}}'


def test_an_empty_bundle_is_refused() -> None:
    refused({".manifest": json.dumps(DOCUMENT).encode()}, IntegrityError, "empty")


def test_building_refuses_what_reading_would() -> None:
    with pytest.raises(PermissionDeniedError):
        build({"tdz/main/x.rego": b"package tdz.main\n"}, manifest(1, (ROOT,)), key("zone"), ZONE)
    with pytest.raises(ConfigError, match="builtin http"):
        build({f"{ROOT}/x.rego": MODULE + b"y := http.send({})\n"}, manifest(1, (ROOT,)), key("zone"), ZONE)


def test_parts_have_roots_and_roots_have_parts() -> None:
    for part in ("baseline", "zone", "packs/us"):
        roots = part_roots(shipped(), part, "cyberjaya")
        assert manifest(1, roots).slot == part
    with pytest.raises(InputError):
        part_roots(shipped(), "everything", "cyberjaya")
    with pytest.raises(ConfigError):
        part_roots(shipped(), "baseline", "atlantis")


def test_roots_of_two_parts_may_not_overlap() -> None:
    def owning(*roots: str) -> BundleManifest:
        return manifest(1, roots)

    assert manifests_overlap({"baseline": owning("tdz/main", "tdz/packs"), "packs/us": owning("tdz/packs/us")})
    assert manifests_overlap({"a": owning("tdz/packs/us"), "b": owning("tdz/packs/us")})
    assert manifests_overlap({"a": owning("tdz/packs/us"), "b": owning("tdz/packs/usa")}) is None
