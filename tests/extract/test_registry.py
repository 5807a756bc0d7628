from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart import runtime
from headstart.embeddings.key import content_key, key_rows
from headstart.embeddings.store import EmbeddingStore, stores
from headstart.errors import EncoderError
from headstart.extract.registry import (
    DEFAULT_IMAGE,
    DEFAULT_TEXT,
    ENCODERS,
    describe,
    encoder,
    is_handle,
    refined,
    with_options,
)
from headstart.extract.run import open_store

EMBEDDED = (DEFAULT_TEXT, DEFAULT_IMAGE, "lexical-hash")


def keep(store: EmbeddingStore, rows: int, seconds: float, machine: str) -> None:
    """A part of vectors that some machine made in so many seconds."""
    numbers = range(len(store), len(store) + rows)
    keys = key_rows([content_key(store.modality, bytes([number])) for number in numbers])
    store.append(keys, np.ones((rows, store.dim), np.float32), {"seconds": seconds, "machine": machine})


@pytest.mark.parametrize("name", list(ENCODERS))
def test_every_name_gives_its_encoder(name: str) -> None:
    made = encoder(name)
    assert made.name == name and made.dim > 0 and made.batch > 0 and made.modality in ("text", "image")
    assert made.card.what and made.card.licence and made.card.source


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_encoder_has_a_fingerprint(name: str) -> None:
    assert len(encoder(name).fingerprint) == 64 and encoder(name).fingerprint == encoder(name).fingerprint


def test_defaults() -> None:
    assert encoder(DEFAULT_TEXT).modality == "text"
    assert encoder(DEFAULT_IMAGE).modality == "image"
    assert encoder(DEFAULT_TEXT).fingerprint != encoder(DEFAULT_IMAGE).fingerprint


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(EncoderError) as caught:
        encoder("efficientnet-light0")
    message = str(caught.value)
    assert "'efficientnet-light0'" in message and "did you mean efficientnet-lite0" in message
    assert all(name in message for name in ENCODERS) and "hub:…" in message and "\n" not in message
    with pytest.raises(EncoderError, match="no encoder is called 'zzz'; choose one of"):
        encoder("zzz")
    with pytest.raises(EncoderError, match="no encoder is called 'hub:'"):
        encoder("hub:")


@pytest.mark.parametrize(
    ("handle", "said"),
    [
        ("lexical-hash#precision=bfloat16", "no option 'precision=bfloat16'; it takes none"),
        ("efficientnet-lite0#precisoin=bfloat16", "no option 'precisoin=bfloat16'; it takes: .*precision=…"),
        ("efficientnet-lite0#precision", "no option 'precision'"),
        ("efficientnet-lite0#precision=", "no option 'precision='"),
        ("efficientnet-lite0#precision=float16", "no precision is called 'float16'"),
    ],
)
def test_an_option_that_is_not_one(handle: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said):
        encoder(handle)


def test_options_are_part_of_the_name_and_of_the_fingerprint_where_they_change_vectors() -> None:
    plain, same, other = (
        encoder(f"efficientnet-lite0{tail}") for tail in ("", "#precision=float32", "#precision=bfloat16")
    )
    assert other.name == "efficientnet-lite0#precision=bfloat16"
    assert plain.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("handle", "options", "refinement"),
    [
        ("use", {}, "use"),
        ("use", {"precision": "bfloat16"}, "use#precision=bfloat16"),
        ("hub:a/b#size=224", {"precision": "bfloat16"}, "hub:a/b#size=224,precision=bfloat16"),
        ("x#precision=float32,size=9", {"precision": "bfloat16"}, "x#size=9,precision=bfloat16"),
        ("keras:VGG16", {"weights": Path("w/v.h5"), "size": 99}, "keras:VGG16#weights=w/v.h5,size=99"),
        ("use#", {}, "use"),
    ],
)
def test_a_handle_with_options(handle: str, options: dict[str, object], refinement: str) -> None:
    assert with_options(handle, **options) == refinement
    assert with_options(refinement, **options) == refinement


def test_a_value_with_a_comma_does_not_fit_into_a_handle() -> None:
    with pytest.raises(EncoderError, match=r"weights 'a,b\.h5' has a comma.*rename"):
        with_options("keras:VGG16", weights="a,b.h5")


def test_precision_is_of_every_encoder_named_and_weights_of_the_one_of_keras() -> None:
    assert refined((), None, None) == ()
    assert refined(["use", "keras:VGG16#size=99"], "bfloat16", Path("v.h5")) == (
        "use#precision=bfloat16",
        f"keras:VGG16#size=99,precision=bfloat16,weights={Path('v.h5').absolute()}",
    )
    with pytest.raises(EncoderError, match=r"--precision bfloat16 is of which encoder.*--encoder NAME"):
        refined((), "bfloat16", None)
    for handles in ((), ("use",), ("keras:VGG16", "keras:ResNet50")):
        with pytest.raises(EncoderError, match=r"--weights v\.h5 is of one encoder .* --encoder keras:APPLICATION"):
            refined(handles, None, Path("v.h5"))


def test_the_list() -> None:
    rows = {row.name: row for row in describe()}
    assert list(rows)[: len(ENCODERS)] == list(ENCODERS)
    assert rows[DEFAULT_TEXT].dim == 512 and rows[DEFAULT_IMAGE].dim == 1280 and rows["lexical-hash"].dim == 2048
    for name in EMBEDDED:
        row = rows[name]
        assert row.here and row.licence and row.what and row.source and row.rate is None and not row.problem


def test_the_rate_is_of_this_machine_and_of_these_weights(tmp_path: Path) -> None:
    store = open_store(tmp_path, encoder("lexical-hash"))
    keep(store, 30, 9.0, "another machine")
    assert {row.name: row for row in describe([store])}["lexical-hash"].rate is None
    keep(store, 30, 2.0, runtime.machine())
    keep(store, 10, 2.0, runtime.machine())
    older = EmbeddingStore.create(tmp_path, "lexical-hash", "0" * 64, "text", 2048, {})
    keep(older, 9, 1.0, runtime.machine())
    rows = describe(list(stores(tmp_path)))
    assert [row.rate for row in rows if row.rate] == [10.0]
    assert len(rows) == len(describe()), "vectors of a former version are no encoder"


def test_handles_that_were_used_stand_below(tmp_path: Path) -> None:
    size = with_options(DEFAULT_IMAGE, precision="bfloat16")
    keep(open_store(tmp_path, encoder(size)), 8, 2.0, runtime.machine())
    keep(open_store(tmp_path, encoder("efficientnet-lite0#precision=float32")), 8, 4.0, runtime.machine())
    EmbeddingStore.create(tmp_path, "gone:model", "1" * 64, "text", 9, {})
    rows = describe(list(stores(tmp_path)))
    gone, used = sorted((row for row in rows if is_handle(row.name)), key=lambda row: row.here)
    assert (used.name, used.modality, used.dim, used.rate, used.here) == (size, "image", 1280, 4.0, True)
    assert (gone.name, gone.modality, gone.dim, gone.rate, gone.here) == ("gone:model", "text", 9, None, False)
    assert "no encoder is called 'gone:model'" in gone.problem
    assert {row.name: row.rate for row in rows}[DEFAULT_IMAGE] == 2.0, "the same vectors under a longer name"


def test_the_list_starts_no_network(tmp_path: Path) -> None:
    for name in EMBEDDED:
        keep(open_store(tmp_path, encoder(name)), 3, 1.0, runtime.machine())
    script = (
        "import sys; from pathlib import Path; from headstart.extract.registry import describe\n"
        "from headstart.embeddings.store import stores\n"
        "rows = describe(list(stores(Path(sys.argv[1]))))\n"
        "assert sum(row.rate == 3.0 for row in rows) == 3, rows\n"
        "heavy = {'tensorflow', 'keras', 'sentencepiece', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
