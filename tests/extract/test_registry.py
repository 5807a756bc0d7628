from __future__ import annotations

import subprocess
import sys

import pytest

from headstart.errors import EncoderError
from headstart.extract.registry import DEFAULT_IMAGE, DEFAULT_TEXT, ENCODERS, describe, encoder


@pytest.mark.parametrize("name", list(ENCODERS))
def test_every_name_gives_its_encoder(name: str) -> None:
    made = encoder(name)
    assert made.name == name and made.dim > 0 and made.batch > 0
    assert len(made.fingerprint) == 64 and made.fingerprint == encoder(name).fingerprint


def test_defaults() -> None:
    assert encoder(DEFAULT_TEXT).modality == "text"
    assert encoder(DEFAULT_IMAGE).modality == "image"
    assert encoder(DEFAULT_TEXT).fingerprint != encoder(DEFAULT_IMAGE).fingerprint


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(EncoderError) as caught:
        encoder("efficientnet-lite")
    message = str(caught.value)
    assert "'efficientnet-lite'" in message and "did you mean efficientnet-lite0?" in message
    assert all(name in message for name in ENCODERS) and "\n" not in message
    with pytest.raises(EncoderError, match="no encoder is called 'zzz'; choose one of"):
        encoder("zzz")


def test_the_list() -> None:
    rows = {row.name: row for row in describe()}
    assert set(rows) == set(ENCODERS)
    assert rows[DEFAULT_TEXT].dim == 512 and rows[DEFAULT_IMAGE].dim == 1280
    assert all(row.here and row.licence and row.what and row.source for row in rows.values())


def test_the_list_starts_no_network() -> None:
    script = (
        "import sys; from headstart.extract.registry import describe; describe(); "
        "assert not {'tensorflow', 'keras', 'sentencepiece'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
