"""The notebook runs on another catalogue by changing one cell, and what is committed of it is a whole run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from catalogs import HEADER, listings

ROOT = Path(__file__).parent.parent
PATH = ROOT / "notebooks" / "les_bonnes_affaires.ipynb"
STEPS = (
    "Les annonces",
    "Nettoyage",
    "Lire une fois",
    "modèle de texte",
    "modèle d'image",
    "fusion",
    "évaluation",
    "fine-tuning",
    "dispersion",
    "mal classées",
    "Enregistrer",
    "production",
    "TensorFlow Serving",
    "API",
    "échelle horizontalement",
)
PROTOCOL = ("95 %",)
"""Figures that a text may state: of how things are judged, none of what came of it."""

PARAMETERS = """
import headstart.reports.benchmark

headstart.reports.benchmark.TIMINGS = 1
CATALOGUE, PHOTOS = {catalogue!r}, {photos!r}
ID, TEXTES, PHOTO, CATEGORIE = {columns!r}
SEPARATEUR, ENCODAGE, NIVEAU, ENTRE_NIVEAUX = ",", "utf-8", None, ">>"
VERITE = NOUVELLES = None
ENCODEURS = ()
GRAINE, PLIS, REPETITIONS, GRAINES = 0, 2, 1, (1,)
DOUBLON, ERREUR, COUVERTURE = 0.999, 0.1, 0.9
PROFONDEUR, MINUTES, MILLION, HEURES = "top", {minutes}, 1_000_000, 8
SORTIE = "sortie"
"""


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def texts(notebook: Any) -> list[str]:
    return [cell.source.replace("\u00a0", " ") for cell in notebook.cells if cell.cell_type == "markdown"]


def run(folder: Path, minutes: float, photos: bool) -> tuple[Any, str]:
    """A copy of the notebook, run in a folder with a catalogue of three other categories; and all that it shows."""
    path = listings(folder, 60, photos)
    copy = nbformat.read(PATH, as_version=4)
    (cell,) = (cell for cell in copy.cells if "parameters" in cell.metadata.get("tags", ()))
    identity, text, photo, label = HEADER
    cell.source = PARAMETERS.format(
        catalogue=str(path),
        photos=str(folder / "photos") if photos else None,
        columns=(identity, (text,), photo if photos else None, label),
        minutes=minutes,
    )
    client = NotebookClient(copy, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    shown = [each.get("text") or each.data.get("text/markdown", "") for each in outputs(copy)]
    return copy, "\n".join(shown).replace("\u00a0", " ")


def outputs(notebook: Any) -> list[Any]:
    return [each for cell in notebook.cells if cell.cell_type == "code" for each in cell.outputs]


@pytest.fixture(scope="module")
def run_with_photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    folder = tmp_path_factory.mktemp("notebook")
    return folder, *run(folder, 0, photos=True)


def test_it_runs_on_another_catalogue_by_changing_one_cell(run_with_photos: tuple[Path, Any, str]) -> None:
    folder, executed, shown = run_with_photos
    assert not [each for each in outputs(executed) if each.output_type == "error" or each.get("name") == "stderr"]
    assert "**60 annonces** en 3 catégories" in shown
    for category in ("Montres", "Linge", "Jouets"):
        assert category in shown
    assert "Pas de *fine-tuning*" in shown
    for approach in ("Texte seul", "Photo seule", "concaténés", "à porte", "fusion tardive", "Témoin TF-IDF"):
        assert approach in shown
    drawn = [each for each in outputs(executed) if {"image/png", "image/jpeg"} & {*each.get("data", {})}]
    assert len(drawn) >= 10
    assert {path.name for path in folder.iterdir()} == {"listings.csv", "photos", "sortie"}
    assert (folder / "sortie" / "classifieur" / "classifier.json").exists()


def test_without_photos_it_says_so_and_goes_on(tmp_path: Path) -> None:
    executed, shown = run(tmp_path, 0.1, photos=False)
    assert "**Sans photos**" in shown and "Pas de photos" in shown and "Réentraînée" in shown
    assert "Photo seule" not in shown and "Texte et mots, fusion tardive" in shown
    assert not [each for each in outputs(executed) if each.get("name") == "stderr"]


def test_no_text_states_a_result(notebook: Any) -> None:
    for text in texts(notebook):
        for allowed in PROTOCOL:
            text = text.replace(allowed, "")
        text = re.sub(r"^#+ \d+\. ", "", text, flags=re.MULTILINE)  # of a part
        assert not re.search(r"\d", re.sub(r"\bF1\b|\bS3\b", "", text)), text


def test_every_step_is_told(notebook: Any) -> None:
    story = "\n".join(texts(notebook))
    for step in STEPS:
        assert step in story, step
    for command in ("headstart serve", "headstart export"):  # there are none
        assert command not in story


def test_what_is_committed_is_one_whole_run(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor, notebook.metadata.kernelspec.name) == (4, 5, "python3")
    assert PATH.stat().st_size < 2_000_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    silent = {"parametres", "outils", "outils-affichage"}
    for cell in code:
        assert cell.outputs or cell.id in silent or not cell.source, cell.id
    for each in outputs(notebook):
        assert each.output_type != "error" and each.get("name") != "stderr"
    assert all(re.fullmatch(r"[a-z-]+", cell.id) for cell in notebook.cells)
    said = nbformat.writes(notebook)
    said = re.sub(r'"image/(png|jpeg)": "[^"]*"', "", said)
    for path in re.findall(r"(?<![\w.`/])/[\w.-]+/[\w./-]*|[A-Z]:\\\\\w+", said):
        pytest.fail(f"an absolute path: {path}")
