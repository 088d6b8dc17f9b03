"""The policy input is closed: nothing missing, nothing extra, nothing coerced, nothing contradicting itself."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from pydantic import ValidationError

from gateway.decisions.cases import put
from gateway.decisions.example import example
from gateway.errors import InputError
from gateway.model.policy_input import (
    Action,
    DatasetFacts,
    PolicyInput,
    china_year,
    json_schema,
    parse,
    problems,
    read_json,
)


def _rejected(document) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        PolicyInput.model_validate(document)
    return [path for problem in problems(caught.value) for path in problem.fields]


@pytest.mark.parametrize("action", get_args(Action))
@pytest.mark.parametrize(("origin", "destination"), [("CN", "MY"), ("MY", "CN")])
def test_an_example_survives_the_round_trip(action, origin, destination):
    document = example(action, origin, destination)
    assert PolicyInput.model_validate(document).document() == document
    assert parse(json.dumps(document)).digest() == PolicyInput.model_validate(document).digest()


def test_a_missing_field_is_named():
    document = example()
    del document["dataset"]["cn"]["class"]
    assert _rejected(document) == ["dataset.cn.class"]


def test_an_extra_field_is_named():
    document = example()
    document["exporter"]["vip"] = "yes"
    assert _rejected(document) == ["exporter.vip"]


def test_a_number_sent_as_text_is_refused():
    document = example()
    document["usage"]["cn"]["non_sensitive_after"] = "60000"
    assert _rejected(document) == ["usage.cn.non_sensitive_after"]


def test_lower_case_and_look_alikes_are_refused():
    for value in ("cn", "CN ", "СN"):  # the last one starts with a Cyrillic letter
        document = example()
        document["request"]["flow"]["from"]["jurisdiction"] = value
        assert _rejected(document) == ["request.flow.from.jurisdiction"]


@pytest.mark.parametrize("text", ['Klinik "Utama"', "a\\b", "a\tb", "a\x7f"])
@pytest.mark.parametrize("path", ["exporter.legal_name", "dataset.columns.0.name", "dataset.columns.0.arrow_type"])
def test_a_text_that_the_engines_read_differently_is_refused_in_words(path, text):
    document = example()
    put(document, path, text)
    with pytest.raises(ValidationError) as caught:
        PolicyInput.model_validate(document)
    (problem,) = problems(caught.value)
    assert problem.fields == (path,)
    assert "quotation marks" in problem.text


def test_other_texts_are_what_people_write():
    document = example()
    document["exporter"]["legal_name"] = "Hospital \u2018Kuala\u2019 & Söhne <上海> Sdn. Bhd. (d'Or)"
    assert PolicyInput.model_validate(document).document() == document


def test_a_python_name_is_no_field_name():
    document = example()
    document["request"]["flow"]["from_"] = document["request"]["flow"].pop("from")
    assert set(_rejected(document)) == {"request.flow.from", "request.flow.from_"}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("dataset.category", "none", "dataset.category"),
        ("dataset.cn.notified_important", "yes", "dataset.cn.notified_important"),
        ("dataset.cn.spi_types", ["health"], "dataset.cn.spi_types"),
        ("dataset.my.sensitive_subjects", 60_001, "dataset.my.sensitive_subjects"),
        ("dataset.my.sensitivity", "none", "dataset.my.sensitivity"),
        ("dataset.cn.hgr.persons", 1, "dataset.cn.hgr.persons"),
        ("usage.cn.non_sensitive_after", 59_999, "usage.cn.non_sensitive_after"),
        ("usage.cn.year", 2025, "usage.cn.year"),
        ("request.flow.to.jurisdiction", "CN", "request.flow.to"),
        ("request.action", "run_job", "job"),
        ("dataset", None, "dataset"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(path, value, field):
    document = example()
    place = document
    *steps, last = path.split(".")
    for step in steps:
        place = place[step]
    place[last] = value
    assert field in _rejected(document)


def test_persons_who_became_sensitive_in_the_year_do_not_contradict():
    document = example()
    document["usage"]["cn"] = {"year": 2026, "non_sensitive_after": 59_000, "sensitive_after": 1_000}
    PolicyInput.model_validate(document)


def test_the_year_turns_at_midnight_in_china():
    assert china_year(1_798_732_799) == 2026  # 2026-12-31T23:59:59+08:00
    assert china_year(1_798_732_800) == 2027


def test_parts_are_frozen_and_lists_bounded():
    facts = PolicyInput.model_validate(example()).dataset
    assert isinstance(facts, DatasetFacts)
    with pytest.raises(ValidationError):
        facts.sector = "other"
    document = example()
    document["mechanisms"] = document["mechanisms"] * 17
    assert _rejected(document) == ["mechanisms"]


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"a":NaN}', "[", "", "[" * 100_000, "\ufeff{}"])
def test_text_that_is_no_plain_json_is_refused(text):
    with pytest.raises(InputError):
        read_json(text)


def test_the_schema_is_closed_at_every_object():
    schema = json_schema()
    for part in [schema, *schema["$defs"].values()]:
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])
