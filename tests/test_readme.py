"""What README tells people to type works as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from catalogs import listings
from commands import headstart_here

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    path = listings(folder, header=("sku", "title", "photo", "category"))
    lines = path.read_text(encoding="utf-8").splitlines()
    described = [lines[0] + ",description", *(f"{line},Vendu avec sa boîte" for line in lines[1:])]
    path.write_text("\n".join(described) + "\n", encoding="utf-8")
    (folder / "new.csv").write_text("\n".join(described[:9]) + "\n", encoding="utf-8")
    return folder


def test_the_commands_run_in_order(folder: Path, timed_once: None) -> None:
    commands = [shlex.split(line, comments=True)[1:] for line in README.splitlines() if line.startswith("headstart ")]
    assert {command[0] for command in commands} == {
        "extract",
        "train",
        "sweep",
        "benchmark",
        "compare",
        "predict",
        "audit",
        "serve",
        "export",
    }
    for command in commands:
        if command[0] == "serve":  # for good: tests/serve has it begin, answer and end
            continue
        if command[0] == "compare":
            shutil.copytree(folder / command[1], folder / command[2])
        # README tries a hundred settings; six go the same way in a tenth of the time.
        fewer = ["--draws", "6"] if command[0] == "sweep" else []
        done = headstart_here(*command, *fewer, cwd=folder)
        assert done.returncode == 0, (command, done.stderr)
    assert (folder / "report" / "report.html").exists()
    assert len((folder / "predictions.csv").read_text().splitlines()) == 9


def test_the_python_runs(folder: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['Montres', 'Linge', 'Jouets'")


def test_the_files_it_names_are_there() -> None:
    root = Path(__file__).parent.parent
    for name in re.findall(r"\]\(([\w./]+)\)", README):
        assert (root / name).exists(), name
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in (root / "Makefile").read_text()
