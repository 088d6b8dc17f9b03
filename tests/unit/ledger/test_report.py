"""The report and lineage: what they say, and that no text of a ledger becomes markup, script or a terminal's order."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ledger.cli.main import main
from ledger.entry import new_id
from ledger.lineage.draw import draw
from ledger.lineage.graph import Edge, Graph, Node
from ledger.markup import el, joined
from ledger.reporting.charts import Part, bars, bin_width, size_text
from tests.unit.ledger.twin import CYBERJAYA, LAB, LINGANG, UM, VERSION, Twin, decision

HOSTILE = (
    "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>"
    "\"'><a href=javascript:alert(3)>\x1b[2J\u202e"
)
VOID = {"meta", "input", "br"}


class Reader(HTMLParser):
    """What a browser would make of the page: elements, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]].append(data)
        else:
            self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture
async def story(twin: Twin) -> Twin:
    await twin.transfer(new_id(), await twin.agree(new_id()))
    await twin.refuse(new_id(), resource="datasets/secret", remedy=HOSTILE)
    await twin.run(new_id())
    model = {
        "consumer": LAB, "consumer_zone": LINGANG, "provider": UM, "provider_zone": CYBERJAYA,
        "resource": "models/classifier",
    }  # fmt: skip
    await twin.transfer(new_id(), await twin.agree(new_id(), **model))
    await twin.mirrored()
    return twin


def report(twin: Twin, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    paths = [str(path) for zone in (CYBERJAYA, LINGANG) if (path := twin.directory / f"export-{zone}").exists()]
    if not paths:
        paths = [str(twin.export(zone)) for zone in (CYBERJAYA, LINGANG)]
    capsys.readouterr()
    assert main(["report", *paths, *arguments]) == code, capsys.readouterr().err
    return capsys.readouterr().out


def page_of(twin: Twin, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Reader:
    file = twin.directory / "report.html"
    report(twin, capsys, "-o", str(file), *arguments, code=code)
    assert sorted(path.name for path in twin.directory.glob("*report*")) == ["report.html"]
    return Reader(file.read_text("utf-8"))


async def test_the_page_answers_what_a_person_asks(story: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    page = page_of(story, capsys)
    text = " ".join(page.texts)
    for said in (
        "Verified: both ledgers hold exactly what was signed, and say the same.",
        "What crossed between cyberjaya and lingang",
        "datasets/flights", "models/classifier", "my 2026112201 (cyberjaya)", "mechanism sc-1",
        "MY-BASIS", "PDPA 2010 s.129", "FedAvg", "datasets/wards in lingang", "AMD EPYC in cyberjaya",
        "Is it true?", "witnessed to size",
    ):  # fmt: skip
        assert said in text, said
    assert page.open == []


async def test_the_page_needs_no_network_and_runs_no_script_but_its_own(
    story: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    page = page_of(story, capsys)
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    directives = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert directives["default-src"] == directives["form-action"] == directives["base-uri"] == "'none'"
    for kind in ("script", "style"):
        (content,) = page.inside[kind]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert directives[f"{kind}-src"] == f"'sha256-{digest}'"
        assert "url(" not in content
        assert "@import" not in content
    assert {"script", "style"} == set(page.inside)
    for name in ("src", "srcset", "style", "action", "data", "xlink:href"):
        assert page.attributes(name) == []
    assert all(link.startswith("#") for link in page.attributes("href"))
    identifiers = page.attributes("id")
    assert sorted(set(identifiers)) == sorted(identifiers)
    assert {link[1:] for link in page.attributes("href")} <= set(identifiers)


async def test_no_text_of_a_ledger_becomes_markup_script_or_an_order_to_a_terminal(
    twin: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = HOSTILE.replace("\x1b", "").replace("\u202e", "")
    await twin.transfer(
        new_id(), await twin.agree(new_id(), resource=f"datasets/{hostile}", purpose=HOSTILE, mechanisms=[HOSTILE])
    )
    await twin.refuse(new_id(), resource=f"models/{HOSTILE}", remedy=HOSTILE)
    await twin.run(new_id(), model=f"models/{HOSTILE}")
    await twin.mirrored()
    page = page_of(twin, capsys)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object", "base", "link", "foreignobject"}
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert [a for _, attributes in page.elements for a in attributes if a.startswith("on")] == []
    assert all(link.startswith("#") for link in page.attributes("href"))
    assert "alert(1)" in " ".join(page.texts), "it is there, as text"
    text = (twin.directory / "report.html").read_text("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert "\x1b" not in report(twin, capsys)
    paths = [str(twin.directory / f"export-{zone}") for zone in (CYBERJAYA, LINGANG)]
    svg = twin.directory / "lineage.svg"
    assert main(["lineage", f"models/{HOSTILE}", *paths, "--svg", str(svg)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert svg.read_text("utf-8").count("<script") == 0


async def test_the_filters_of_the_command_line_narrow_lists_totals_and_charts(
    story: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    def account(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(report(story, capsys, "--json", *arguments))["account"]
        return found

    everything = account()
    assert everything["totals"]["transfers"] == 2
    assert (everything["totals"]["refused"], everything["totals"]["models"]) == (1, 1)
    assert account("--dataset", "flights")["totals"]["transfers"] == 1
    only = account("--model", "classifier")
    assert [each["resource"] for each in only["transfers"]["rows"]] == ["models/classifier"]
    assert only["refusals"]["total"] == 0
    assert only["runs"]["total"] == 1
    assert account("--participant", "um")["totals"]["transfers"] == 2
    assert account("--participant", LAB)["refusals"]["total"] == 0
    assert account("--participant", "nobody")["totals"]["transfers"] == 0
    day = everything["from"][:10]
    assert account("--from", day, "--to", day)["totals"]["transfers"] == 2
    assert account("--to", "2020-01-01")["totals"] == dict.fromkeys(everything["totals"], 0)
    assert account("--from", "2999-01-01")["runs"]["total"] == 0
    assert len(account("--rows", "1")["transfers"]["rows"]) == 1
    assert "older transfer" in " ".join(page_of(story, capsys, "--rows", "1").texts)
    page = page_of(story, capsys, "--to", "2020-01-01")
    assert "Nothing crossed." in " ".join(page.texts)
    assert report(story, capsys, "--from", "yesterday", code=2) == ""


async def test_the_pages_rows_carry_what_its_filters_look_for(story: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    page = page_of(story, capsys)
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and "data-who" in attributes]
    assert any(each["data-who"] == f"{LAB} {UM}" and each["data-what"] == "datasets/flights" for each in rows)
    assert all(re.fullmatch(r"(\d{4}-\d\d-\d\d(T[\d:]+)?)?", each["data-at"]) for each in rows if "data-at" in each)
    parts = [attributes for tag, attributes in page.elements if tag == "rect" and "data-bin" in attributes]
    assert {"datasets/flights", "models/classifier"} <= {each["data-what"] for each in parts}
    options = {value for tag, attributes in page.elements if tag == "option" for value in [attributes["value"]]}
    assert {UM, LAB, "datasets/flights", "models/classifier", "datasets/wards"} <= options


async def test_a_ledger_that_was_changed_says_so_at_the_top_and_tells_nothing_else(
    story: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = story.export(LINGANG)
    story.export(CYBERJAYA)
    bundle = max((copy / "tile/entries/000.p").iterdir(), key=lambda part: int(part.name))
    bundle.write_bytes(bundle.read_bytes().replace(b'"rows":10', b'"rows":90'))
    page = page_of(story, capsys, code=1)
    text = " ".join(page.texts)
    assert "NOT VERIFIED: tdz/lingang/2026-00ff is not as it was signed. Do not rely on this page." in text
    assert "datasets/flights" not in text


async def test_ledgers_that_contradict_each_other_say_so_at_the_top(
    twin: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    await twin.transfer(new_id(), await twin.agree(new_id()), rows=11)
    await twin.mirrored()
    text = " ".join(page_of(twin, capsys, code=1).texts)
    assert "The two ledgers contradict each other." in text
    assert "rows: cyberjaya 10; lingang 11" in text


async def test_one_ledger_alone_is_one_sides_word(story: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(story.export(LINGANG))]) == 0
    said = capsys.readouterr().out
    assert "one side's word" in said
    assert "2 transfers completed" in said


# --- lineage ------------------------------------------------------------------------------------------------------


def lineage(twin: Twin, capsys: pytest.CaptureFixture[str], what: str, *arguments: str) -> str:
    paths = [twin.directory / f"export-{zone}" for zone in (CYBERJAYA, LINGANG)]
    for zone, path in zip((CYBERJAYA, LINGANG), paths, strict=True):
        if not path.exists():
            twin.export(zone)
    capsys.readouterr()
    assert main(["lineage", what, *map(str, paths), *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


async def test_a_models_lineage_names_data_owners_devices_and_recipients(
    story: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    svg = story.directory / "model.svg"
    text = lineage(story, capsys, "models/classifier", "--svg", str(svg))
    came, _, went = text.partition("went to")
    for said in ("outcome of: run", "datasets/patients in cyberjaya", "datasets/wards in lingang", "owned by: um",
                 "owned by: ai-lab", "on 2 × AMD EPYC in lingang", "on 2 × AMD EPYC in cyberjaya"):  # fmt: skip
        assert said in came, said
    assert "received for research (1 transfer, 1,000 bytes" in went
    assert "ai-lab (lingang)" in went
    drawing = Reader(svg.read_text("utf-8").partition("?>")[2])
    assert drawing.elements[0][0] == "svg"
    assert "classifier" in " ".join(drawing.texts)
    graph = json.loads(lineage(story, capsys, "models/classifier", "--json"))
    assert {node["kind"] for node in graph["nodes"]} == {"party", "dataset", "run", "model"}


async def test_a_datasets_lineage_follows_it_into_models_and_out_of_the_zone(
    story: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    text = lineage(story, capsys, "datasets/patients")
    went = text.partition("went to")[2]
    for said in ("trained on (208 rows): run", "run output, no rows", "became: models/classifier in cyberjaya",
                 "received for research"):  # fmt: skip
        assert said in went, said
    assert "✗ refused by lingang (1 request): um (cyberjaya)" in lineage(story, capsys, "datasets/secret")


async def test_a_models_stated_inputs_are_followed_by_version_and_name(
    twin: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    await twin.transfer(new_id(), await twin.agree(new_id()))  # datasets/flights in VERSION
    made = {
        "artifact": "77" * 32, "base": {"id": "tiny", "licence": "MIT"}, "data": [{"digest": VERSION}],
        "provenance": "verified",
        "runs": [{"site": LINGANG, "country": "CN", "devices": [{"sku": "Ascend 910B", "count": 8}]}],
    }  # fmt: skip
    request = {"participant": UM, "purpose": "research", "resource": "models/tuned", "version": "55" * 32}
    await twin.add(
        LINGANG, "decision", f"negotiations/{new_id()}", decision=decision(LINGANG), effect="allow", request=request,
        lineage=made,
    )  # fmt: skip
    await twin.mirrored()
    text = lineage(twin, capsys, "models/tuned")
    for said in ("provenance verified", "on 8 × Ascend 910B in lingang", "made from: tiny",
                 "trained on, says its provenance: datasets/flights in lingang"):  # fmt: skip
        assert said in text, said
    assert "models/tuned" in lineage(twin, capsys, "datasets/flights").partition("went to")[2]


async def test_what_no_entry_speaks_of_is_one_line(story: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    copy = str(story.export(LINGANG))
    for what in ("models/none", "none", "datasets/'; DROP TABLE agreed; --"):
        assert main(["lineage", what, copy]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tdz-ledger: no entry speaks of")
        assert error.count("\n") == 1


def test_a_circle_in_a_lineage_ends() -> None:
    graph = Graph("models/a")
    for name in "abc":
        graph.add(Node(f"models/{name}", "model", f"models/{name}"))
    for source, target in ("ab", "bc", "ca", "aa"):
        graph.join(Edge(f"models/{source}", f"models/{target}", "base of"))
    drawing = draw(graph)
    assert drawing.width < 24 * 400
    assert Reader(str(drawing.svg)).open == []


# --- markup and charts --------------------------------------------------------------------------------------------


def test_markup_escapes_texts_and_attributes_and_takes_no_event() -> None:
    assert str(el("p", "<b>&\"'", title="\"'<")) == '<p title="&quot;&#x27;&lt;">&lt;b&gt;&amp;&quot;&#x27;</p>'
    assert str(joined(["a\x00\u202e", None, 7, [el("br")]])) == "a\ufffd\ufffd7<br>"
    for attributes in ({"onclick": "x"}, {"a b": "x"}, {"x>": "y"}):
        with pytest.raises(ValueError, match="attribute"):
            el("p", **attributes)
    with pytest.raises(ValueError, match="element"):
        el("p onload=x")


@pytest.mark.parametrize(
    ("first", "last", "width"),
    [
        ("2026-01-01T00:00:00.000000Z", "2026-01-01T01:00:00.000000Z", 16),
        ("2026-01-01T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z", 13),
        ("2026-01-01T00:00:00.000000Z", "2026-03-03T00:00:00.000000Z", 10),
        ("2024-01-01T00:00:00.000000Z", "2026-03-03T00:00:00.000000Z", 7),
        ("2000-01-01T00:00:00.000000Z", "2030-03-03T00:00:00.000000Z", 4),
        ("0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", 4),
        ("", "", 10),
    ],
)
def test_bins_fit_the_period_and_bars_add_up(first: str, last: str, width: int) -> None:
    assert bin_width(first, last) == width
    if not first:
        return
    parts = [Part(first[:width], 0, 30, what="a"), Part(first[:width], 1, 70, what="b"), Part(last[:width], 0, 50)]
    chart = Reader(str(bars(parts, ["x", "y"], "t", bytes_=False, width=width, identifier="c")))
    rects = [attributes for tag, attributes in chart.elements if tag == "rect"]
    heights = [float(each["height"]) for each in rects]
    assert len(rects) == 3
    assert heights[1] / heights[0] == pytest.approx(70 / 30, rel=0.02)
    assert len(chart.elements) < 1500


def test_sizes_are_said_as_people_say_them() -> None:
    said = [size_text(n) for n in (0, 999, 1000, 2728, 26_749_392, 10**15, 10**19)]
    assert said == ["0 B", "999 B", "1.0 KB", "2.7 KB", "26.7 MB", "1.0 PB", "10,000 PB"]
