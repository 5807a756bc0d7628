"""What SavedModels of every kind take and give, read from the files and by loading them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saved_models as kinds
from PIL import Image

from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.hub import HubEncoder
from headstart.extract.registry import encoder
from headstart.extract.saved_model import lacking, weights_digest
from headstart.runtime import has_bfloat16

Made = Callable[[kinds.Builder], Path]
GREY = (102, 153, 204)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return lambda builder: kinds.ready(tmp_path_factory.getbasetemp(), builder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def photo(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def vectors(made: Encoder, items: list[Any]) -> np.ndarray:
    found = made.encode([made.prepare(item) for item in items])
    assert found.shape == (len(items), made.dim) and found.dtype == np.float32
    return found


def refusal(handle: str) -> str:
    with pytest.raises(EncoderError) as caught:
        encoder(handle).spec()
    message = str(caught.value)
    assert "\n" not in message and handle in message
    return message


@pytest.mark.parametrize("kind", [kinds.vocabulary, kinds.tf1_text])
def test_words_are_looked_up_in_the_modules_own_table(made: Made, kind: kinds.Builder) -> None:
    read = encoder(f"hub:{made(kind)}")
    assert (read.modality, read.dim) == ("text", kinds.DIM)
    word = dict(zip(kinds.WORDS, kinds.word_weights(), strict=False))
    found = vectors(read, ["drap coton", "", "montre inconnue", "étanche"])
    expected = [word["drap"] + word["coton"], 0 * word["drap"], word["montre"], word["étanche"]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_texts_of_all_lengths_come_back_in_their_order(made: Made) -> None:
    read = encoder(f"hub:{made(kinds.vocabulary)}")
    rows = kinds.word_weights()
    counts = np.random.default_rng(0).integers(0, 400, 200)
    texts = [" ".join([kinds.WORDS[count % 8]] * count) for count in counts]
    expected = [rows[count % 8] * count for count in counts]
    np.testing.assert_allclose(vectors(read, texts), expected, rtol=1e-4, atol=1e-4)
    assert read.encode([]).shape == (0, kinds.DIM)


def test_texts_that_are_no_utf_8_and_texts_with_zeros_in_them(made: Made) -> None:
    read = encoder(f"hub:{made(kinds.text)}")
    zero, cut, surrogate, mark, long, longer = vectors(
        read, ["a\0b", "a", "\ud800", "?", "b" * 16_384, "b" * 16_384 + " c"]
    )
    assert not np.array_equal(zero, cut)
    assert np.array_equal(surrogate, mark)
    assert np.array_equal(long, longer), "a text's first 16,384 characters count"


@pytest.mark.parametrize(
    ("size", "dtype", "options", "expected"),
    [
        (16, "float32", "#range=0..1", np.array(GREY) / 255),
        (None, "float32", "#size=20,range=0..1", np.array(GREY) / 255),
        (16, "float32", "#range=-1..1", np.array(GREY) / 127.5 - 1),
        (16, "float32", "#range=0..255", np.array(GREY)),
        (16, "float16", "#size=16,range=0..1", np.array(GREY) / 255),
        (16, "uint8", "", np.array(GREY)),
        (16, "int32", "#range=0..255", np.array(GREY)),
    ],
)
def test_pixels_are_given_in_the_size_type_and_range_that_it_takes(
    tmp_path: Path, size: int | None, dtype: str, options: str, expected: np.ndarray
) -> None:
    read = encoder(f"hub:{kinds.image(tmp_path / 'module', size, dtype)}{options}")
    assert (read.modality, read.dim) == ("image", kinds.DIM)
    assert read.spec()["input"]["size"] == (size or 20) and read.spec()["input"]["dtype"] == dtype
    np.testing.assert_allclose(vectors(read, [photo(GREY)])[0, :3], expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(vectors(read, [photo((0, 0, 0)), photo(GREY)])[1, :3], expected, rtol=2e-3, atol=2e-3)


def test_a_photo_module_in_the_tf1_format(made: Made) -> None:
    read = encoder(f"hub:{made(kinds.tf1_image)}#size=8")
    assert (read.modality, read.dim) == ("image", kinds.DIM)
    np.testing.assert_allclose(vectors(read, [photo(GREY)])[0, :3], np.array(GREY) / 255, rtol=1e-3)


def test_a_module_that_can_be_trained_is_called_as_one_that_is_not(made: Made) -> None:
    np.testing.assert_allclose(
        vectors(encoder(f"hub:{made(kinds.trained)}#range=0..1"), [photo(GREY)])[0], np.array(GREY) / 255, rtol=1e-3
    )


def test_signature_and_output_are_chosen_by_options(made: Made) -> None:
    folder = made(kinds.several)
    assert vectors(encoder(f"hub:{folder}#signature=short"), ["abcd", ""]).tolist() == [[4, 4, 4], [0, 0, 0]]
    narrow, wide = (encoder(f"hub:{folder}#signature=long,output={name}") for name in ("narrow", "wide"))
    assert (narrow.dim, wide.dim) == (2, 5)
    assert vectors(wide, ["ab"]).tolist() == [[2] * 5]
    assert narrow.fingerprint != wide.fingerprint


def test_what_is_no_encoder_says_what_it_is(made: Made) -> None:
    message = refusal(f"hub:{made(kinds.numbers)}")
    assert "no signature" in message and "twice(x float32 (n, 10)) → y float32 (n, 10)" in message
    message = refusal(f"hub:{made(kinds.feature_map)}#range=0..1")
    assert "float32 (n, 8, 8, 3)" in message and "pools" in message
    assert "16 × 32" in refusal(f"hub:{made(kinds.wide)}")


def test_a_choice_that_is_left_open_is_asked_for(made: Made) -> None:
    folder = made(kinds.several)
    message = refusal(f"hub:{folder}")
    assert "several signatures" in message and message.endswith("#signature=NAME: long, short")
    assert "'medium'" in refusal(f"hub:{folder}#signature=medium")
    message = refusal(f"hub:{folder}#signature=long")
    assert "#output=NAME: narrow, wide" in message and "map string (n, 1)" in message
    message = refusal(f"hub:{folder}#signature=long,output=map")
    assert "no vector is called 'map'" in message and "narrow, wide" in message
    assert "#size=224" in refusal(f"hub:{made(kinds.tf1_image)}")


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        (kinds.text, "#size=224", "for photos"),
        (kinds.text, "#range=0..1", "for photos"),
        (kinds.image, "", "#range=0..1"),
        (kinds.image, "#size=224", "16 × 16"),
    ],
)
def test_options_that_the_module_contradicts(made: Made, kind: kinds.Builder, options: str, problem: str) -> None:
    assert problem in refusal(f"hub:{made(kind)}{options}")


def test_a_module_that_is_not_what_its_name_promises(made: Made) -> None:
    with pytest.raises(EncoderError, match="is to read images, the module reads texts"):
        HubEncoder(str(made(kinds.text)), "image").spec()
    with pytest.raises(EncoderError, match="is to give vectors of 512 numbers, the module gives 8"):
        HubEncoder(str(made(kinds.text)), "text", 512).spec()


def test_a_module_whose_vectors_depend_on_their_neighbours_is_refused(tmp_path: Path) -> None:
    assert "changes with the others in its batch" in refusal(f"hub:{kinds.in_training(tmp_path)}#range=0..1")


def test_whole_numbers_have_one_range(tmp_path: Path) -> None:
    folder = kinds.image(tmp_path / "module", dtype="uint8")
    assert "uint8" in refusal(f"hub:{folder}#range=0..1")


@pytest.mark.parametrize(
    "option",
    [
        "size=big",
        "size=0",
        "range=1",
        "range=1..0",
        "range=a..b",
        "range=0..inf",
        "precision=fp4",
    ],
)
def test_options_that_mean_nothing(option: str) -> None:
    with pytest.raises(EncoderError, match=option.partition("=")[2]) as caught:
        encoder(f"hub:anywhere#{option}")
    assert "\n" not in str(caught.value)


def test_precision_is_in_the_fingerprint(made: Made) -> None:
    folder = made(kinds.image)
    handle = f"hub:{folder}#range=0..1"
    plain, fast = encoder(handle), encoder(f"{handle},precision=bfloat16")
    assert plain.fingerprint == encoder(f"{handle},precision=float32").fingerprint != fast.fingerprint
    if not has_bfloat16():
        pytest.skip("this processor does not multiply in bfloat16")
    np.testing.assert_allclose(vectors(fast, [photo(GREY)])[0, :3], np.array(GREY) / 255, rtol=0.02)


def test_operations_of_tensorflow_text_are_found(tmp_path: Path) -> None:
    """In a process of its own, where nobody has registered them."""
    pytest.importorskip("tensorflow_text", reason="tensorflow-text is not installed")
    read = """if True:
        import sys
        from headstart.extract.registry import encoder
        made = encoder(f"hub:{sys.argv[1]}")
        print(made.encode([made.prepare("one two three"), made.prepare("one")]).tolist())
    """
    folder = kinds.tokenizer(tmp_path / "module")
    ran = subprocess.run([sys.executable, "-c", read, folder], capture_output=True, text=True)
    assert ran.stdout == "[[3.0, 3.0], [1.0, 1.0]]\n", ran.stderr


def test_what_a_half_folder_lacks(made: Made, tmp_path: Path) -> None:
    whole = made(kinds.vocabulary)
    assert lacking(whole) is None and lacking(made(kinds.tf1_text)) is None
    assert lacking(tmp_path / "nowhere") == "no such folder"

    def without(*names: str) -> str | None:
        half = tmp_path / "-".join(names).replace("/", "_")
        shutil.copytree(whole, half)
        for name in names:
            (half / name).unlink()
        return lacking(half)

    data = "variables/variables.data-00000-of-00001"
    assert without("saved_model.pb") == "no saved_model.pb"
    assert without("variables/variables.index") == "no variables/variables.index"
    assert without(data) == "0 of 1 files variables/variables.data-…"
    assert without(data, "variables/variables.index") == "no variables"
    assert without("fingerprint.pb") is None


def test_a_file_cut_short_is_told_in_one_line(made: Made, tmp_path: Path) -> None:
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "assets/vocabulary.txt"):
        folder = tmp_path / name.replace("/", "_")
        shutil.copytree(made(kinds.vocabulary), folder)
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if name[0] != "a" else b"")
        message = refusal(f"hub:{folder}")
        assert str(folder) in message


def test_the_digest_is_of_what_decides_the_vectors(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "module"
    shutil.copytree(made(kinds.vocabulary), folder)
    digest = weights_digest(folder)
    assert digest == weights_digest(made(kinds.vocabulary))
    for name in ("fingerprint.pb", "keras_metadata.pb", "README.md", "assets.extra/requests", ".descriptor.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"something else")
    assert weights_digest(folder) == digest
    for path in (*folder.glob("variables/*"), *folder.glob("assets/*"), folder / "saved_model.pb"):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert weights_digest(folder) != digest, path
        path.write_bytes(before)
    (folder / "assets/vocabulary.txt").rename(folder / "assets/words.txt")
    assert weights_digest(folder) != digest
