"""Corrections of what was corrected before, and those that leave no file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from catalogs import Write, refusal
from correcting import COLUMNS, HEAD, MORE, MOVE, apply, opened
from headstart import corrections
from headstart.catalog import Columns, read_catalog
from headstart.decisions import Decision
from headstart.errors import HeadstartError
from headstart.rewriting import ADDED

# --- again, and not at all -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.jsonl"])
def test_corrections_are_applied_twice_and_later_ones_are_added(write: Write, tmp_path: Path, name: str) -> None:
    table = pa.table({"id": ["1", "2", "3"], "text": ["a", "b", "c"], "label": ["A", "A", "=A"]})
    path = tmp_path / name
    if name == "c.parquet":
        pq.write_table(table, path)
    elif name == "c.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        arrow_csv.write_csv(table, path)
    once, twice, later = (path.with_stem(stem) for stem in ("once", "twice", "later"))
    made = [MOVE, Decision("3", "=A", "other", "C", "=x"), Decision("1", "A", "keep", "", "Léa")]
    assert apply(opened(path), made, once).changed == 2
    applied = apply(opened(once), made, twice)
    assert (applied.changed, applied.already) == (0, 2)
    assert twice.read_bytes() == once.read_bytes()
    apply(opened(twice), [Decision("1", "A", "keep", "", "Max"), Decision("2", "B", "other", "D")], later)
    names = read_catalog(later, COLUMNS).table.names()
    assert names == ["id", "text", "label", *ADDED]
    rows = list(zip(*next(opened(later).table.blocks(names[2:], print)), strict=True))
    guard = "'" if name == "c.csv" else ""
    assert [tuple(cell or "" for cell in row) for row in rows] == [
        ("A", "", "keep", "Max", ""),
        ("D", "B", "other", "", ""),
        ("C", f"{guard}=A", "other", f"{guard}=x", ""),
    ]


@pytest.mark.parametrize("names", ["decision", "filed_before,decision,decided_by", f"decision,{MORE}"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_columns_of_the_catalogues_own_are_not_overwritten(write: Write, names: str, suffix: str) -> None:
    there = names.split(",")
    if suffix == ".jsonl" and len(set(there)) < len(there):
        pytest.skip("an object has no key twice")
    row = {"id": "2", "text": "b", "label": "A", **dict.fromkeys(there, "mine")}
    csv_text = f"{HEAD},{names}\n2,b,A{',mine' * len(there)}\n"
    path = write(csv_text if suffix == ".csv" else json.dumps(row), f"c{suffix}")
    message = refusal(lambda: apply(opened(path), [MOVE], path.with_name(f"o{suffix}")))
    assert f"has a column {there[0]!r} that no correction wrote; rename it" in message
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to, None])
def test_the_catalogue_itself_is_never_written(write: Write, link: object) -> None:
    path = write(f"{HEAD}\n2,b,A\n")
    other = path.with_name("other.csv") if link else path.parent / ".." / path.parent.name / path.name
    if callable(link):
        link(other, path)
    assert "is the catalogue itself" in refusal(lambda: apply(opened(path), [MOVE], other))
    assert path.read_text() == f"{HEAD}\n2,b,A\n"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("there.csv", "exists already"),
        ("nowhere.csv", "exists already"),
        ("o.parquet", "let its name end in .csv"),
        ("o.tsv", "let its name end in .csv"),
        ("o.xlsx", "is of no known type"),
        ("missing/o.csv", "there is no folder"),
    ],
)
def test_a_file_that_cannot_be_the_catalogues_successor(write: Write, tmp_path: Path, out: str, said: str) -> None:
    (tmp_path / "there.csv").touch()
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "gone.csv")
    path = write(f"{HEAD}\n2,b,A\n")
    assert said in refusal(lambda: apply(opened(path), [MOVE], tmp_path / out))
    assert not (tmp_path / "gone.csv").exists()


def test_a_catalogue_without_a_label_column_or_that_is_damaged(write: Write) -> None:
    path = write(f"{HEAD}\n2,b,A\n2,c,A\n")
    out = path.with_name("o.csv")
    assert "name it with --label" in refusal(lambda: apply(opened(path, Columns(text=("text",))), [MOVE], out))
    assert "have the same id '2'" in refusal(lambda: apply(opened(path), [MOVE], out))
    path = write(f"{HEAD}\n2,b,A\n3,caf\xe9,A\n".encode("latin-1"))
    assert "line 3 has the byte 0xe9" in refusal(lambda: apply(opened(path), [MOVE], out))
    assert list(path.parent.iterdir()) == [path]


def test_decisions_that_do_not_fit_leave_nothing(write: Write) -> None:
    path = write(f"{HEAD}\n2,b,A\n")
    out = path.with_name("o.csv")
    assert "lacks 1 of" in refusal(lambda: apply(opened(path), [replace(MOVE, id="x")], out))
    assert "filed elsewhere" in refusal(lambda: apply(opened(path), [replace(MOVE, filed="C")], out))
    assert list(path.parent.iterdir()) == [path]


def test_a_catalogue_that_changes_meanwhile_is_noticed(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:

    path = write(f"{HEAD}\n2,b,A\n")

    def correct(*given: object) -> object:
        path.write_text(f"{HEAD}\n2,b,A\n3,c,A\n")
        return real(*given)  # type: ignore[arg-type]

    real = corrections.correct
    monkeypatch.setattr(corrections, "correct", correct)
    assert "changed while it was read" in refusal(lambda: apply(opened(path), [MOVE], path.with_name("o.csv")))
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_is_full_is_one_line(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(f"{HEAD}\n2,b,A\n")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HeadstartError, match="cannot be written \\(No space left on device\\)"):
        apply(opened(path), [MOVE], path.with_name("o.csv"))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.jsonl"])
def test_a_kill_while_writing_leaves_no_file(tmp_path: Path, name: str) -> None:
    rows = 80_000 if name == "c.parquet" else 20_000  # a row group of it has 65,536
    table = pa.table({"id": [f"{row}" for row in range(rows)], "text": ["b" * 50] * rows, "label": ["A"] * rows})
    path, out = tmp_path / name, tmp_path / f"out{Path(name).suffix}"
    if name == "c.parquet":
        pq.write_table(table, path)
    elif name == "c.jsonl":
        path.write_text("".join(f'{{"id": "{row}", "label": "A", "text": "{"b" * 50}"}}\n' for row in range(rows)))
    else:
        arrow_csv.write_csv(table, path)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom headstart import corrections\n"
        "from headstart.catalog import Columns, read_catalog\nfrom headstart.decisions import Decision\n"
        "class Killed(corrections._Edits):\n"
        "    def __call__(self, listing, cell):\n"
        "        if listing == sys.argv[3]:\n"
        "            print(sum(p.stat().st_size for p in Path(sys.argv[2]).parent.glob('.out*.tmp')), flush=True)\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().__call__(listing, cell)\n"
        "corrections._Edits = Killed\n"
        "catalog = read_catalog(Path(sys.argv[1]), Columns(text=('text',), label='label'))\n"
        "corrections.apply(catalog, [Decision('2', 'A', 'agree', 'B')], Path(sys.argv[2]), True)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, path, out, str(rows - 100)], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert int(run.stdout) > 0, "it was in the middle of writing"
    assert not out.exists()
    assert apply(opened(path), [MOVE], out).changed == 1, "and what it left is not in the way"
