"""What the pages in docs/ tell people to write works as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs import listings
from headstart.errors import EncoderError
from headstart.extract.registry import ENCODERS, SCHEMES, encoder

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [block for kind, block in found if kind == language]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an installer leaves it: the module of the page, and the entry point of its pyproject.toml."""
    folder = tmp_path_factory.mktemp("site")
    (script,) = blocks("python")
    (project,) = blocks("toml")
    ((group, points),) = tomllib.loads(project)["project"]["entry-points"].items()
    ((name, value),) = points.items()
    (folder / f"{value.partition(':')[0]}.py").write_text(script, encoding="utf-8")
    install(folder, "letter_counts", group, f"{name} = {value}")
    return folder


def install(folder: Path, package: str, group: str, line: str) -> None:
    information = folder / f"{package}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{group}]\n{line}\n")


def headstart(*words: str, cwd: Path, site: Path) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.path.append({str(site)!r}); from headstart.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *words], cwd=cwd, capture_output=True, text=True)


def test_the_example_is_listed_and_extracts(installed: Path, tmp_path: Path) -> None:
    listings(tmp_path, 6, photos=False)
    command = shlex.split(blocks("")[-1])[1:]
    assert command[0] == "extract" and command[-1] in "".join(blocks("toml"))
    done = headstart(*command, "--id", "sku", "--text", "titre", cwd=tmp_path, site=installed)
    assert done.returncode == 0, done.stderr
    assert "letter-counts: 6 of 6 distinct texts encoded" in done.stderr

    done = headstart("encoders", "--json", cwd=tmp_path, site=installed)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    row = rows["letter-counts"]
    assert list(rows) == [*ENCODERS, "letter-counts"] and row["rate"] > 0
    del row["rate"]
    assert row == {
        "name": "letter-counts",
        "modality": "text",
        "dim": 26,
        "what": "How often each letter occurs",
        "licence": "MIT",
        "source": "no weights",
        "megabytes": 0,
        "here": True,
        "problem": "",
    }


def test_a_broken_package_disturbs_no_other(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    broken = {
        "gone": ("import a_package_that_is_gone", "No module named 'a_package_that_is_gone'"),
        "unreadable": ("def broken(:", "SyntaxError"),
        "raising": ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        "empty": ("class Other: pass", "AttributeError"),
        "bare": ("class Theirs: pass", "AttributeError"),
    }
    for name, (module, _) in broken.items():
        (site / f"{name}_encoder.py").write_text(module + "\n")
        install(site, f"{name}_encoder", "headstart.encoders", f"{name} = {name}_encoder:Theirs")
    done = headstart("encoders", cwd=tmp_path, site=site)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^efficientnet-lite0 .* yes ", done.stdout, re.MULTILINE)
    for name, (_, reason) in broken.items():
        assert re.search(rf"^{name} .* no$", done.stdout, re.MULTILINE)
        (told,) = (line for line in done.stderr.splitlines() if line.startswith(f"not usable: {name}"))
        assert reason in told

    listings(tmp_path, 3, photos=False)
    columns = ("--id", "sku", "--text", "titre", "--encoder")
    done = headstart("extract", "listings.csv", *columns, "lexical-hash", cwd=tmp_path, site=site)
    assert done.returncode == 0, done.stderr
    done = headstart("extract", "listings.csv", *columns, "gone", cwd=tmp_path, site=site)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: gone cannot be imported from gone_encoder:Theirs")


def test_a_name_of_ours_cannot_be_taken_over(tmp_path: Path) -> None:
    install(tmp_path, "thief", "headstart.encoders", "lexical-hash = thief:Thief")
    done = headstart("encoders", "--json", cwd=tmp_path, site=tmp_path)
    assert {row["name"]: row["dim"] for row in json.loads(done.stdout)}["lexical-hash"] == 2048


def test_every_name_and_scheme_is_on_the_page() -> None:
    table = PAGE.partition("## Names and handles")[2].partition("\nOptions")[0]
    cells = [line.split("|")[1:5] for line in table.splitlines() if line.startswith("| `")]
    named = {
        name: (kind.strip(), dim.strip()) for names, kind, dim, _ in cells for name in re.findall("`(.+?)`", names)
    }
    assert {name for name in named if ":" not in name} == set(ENCODERS)
    assert {name.partition(":")[0] for name in named if ":" in name} == set(SCHEMES)
    for name in ENCODERS:
        made = encoder(name)
        assert named[name] == ({"text": "text", "image": "photo"}[made.modality], str(made.dim))


def unbroken(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def test_every_handle_of_the_page_is_one() -> None:
    commands = [shlex.split(line, comments=True) for block in blocks("") for line in unbroken(block)]
    handles = [command[at + 1] for command in commands for at, word in enumerate(command) if word == "--encoder"]
    assert len(handles) >= 6
    for handle in set(handles) - {"letter-counts"}:
        assert encoder(handle).name == handle
    with pytest.raises(EncoderError):
        encoder("letter-counts")


@pytest.mark.parametrize(("page", "commands"), [("extraction", 8), ("heads", 3), ("fine-tuning", 3), ("results", 1)])
def test_every_command_of_a_page_is_one(page: str, commands: int) -> None:
    import typer

    from headstart.cli import app

    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    lines = re.findall(r"^headstart (.*)$", text, re.MULTILINE)
    assert len(lines) > commands
    for line in lines:
        command, words = typer.main.get_command(app), shlex.split(line, comments=True)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("headstart", words)  # parses them, and ends where an option is not known


def test_the_python_of_the_page_on_heads_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "heads.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    draw = np.random.default_rng(0)
    categories = np.repeat(["bags", "lamps", "rugs"], 40)
    vectors = np.repeat(draw.normal(size=(3, 8)), 40, axis=0) + draw.normal(scale=0.3, size=(120, 8))
    found: dict[str, Any] = {"vectors": vectors, "categories": categories, "folder": tmp_path / "model"}
    exec(script, found)
    assert set(found["decisions"].action) <= {"accept", "suggest", "person"}
    np.testing.assert_allclose(
        found["same"].predict_proba(vectors), found["classifier"].predict_proba(vectors), atol=1e-5
    )
