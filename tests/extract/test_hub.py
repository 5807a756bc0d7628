"""Modules of TensorFlow Hub: where they lie, how they come, and whole runs with them."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import saved_models as kinds
from PIL import Image

from catalogs import listings
from headstart.catalog import Columns
from headstart.embeddings.upkeep import verify
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.images import decode
from headstart.extract.registry import DEFAULT_IMAGE, DEFAULT_TEXT, encoder
from headstart.modelling import train
from headstart.workflow import Source, read_once

Made = Callable[[kinds.Builder], Path]
NOWHERE = "http://127.0.0.1:9/module/1"
"""A port that nobody listens on: refused at once, as everything is where there is no network."""
INCEPTION = "https://tfhub.dev/google/imagenet/inception_v3/feature_vector/5"
ROWS = 30


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return lambda builder: kinds.ready(tmp_path_factory.getbasetemp(), builder)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache of this test."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    columns = Columns("sku", ("titre",), "photo", "rayon")
    return Source(listings(tmp_path, ROWS), columns, tmp_path / "photos", store=tmp_path / "store")


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(EncoderError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tarball(folder: Path, path: Path, inside: str = ".") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, inside)
    return path


MODULES = {
    kinds.text: "",
    kinds.vocabulary: "",
    kinds.tf1_text: "",
    kinds.image: "#range=0..1",
    kinds.tf1_image: "#size=12",
    kinds.picky: "#range=-1..1",
}


def test_every_kind_of_module_goes_the_whole_way(made: Made, cache: Path, source: Source, tmp_path: Path) -> None:
    """From a folder or by its handle, beside the embedded encoders and the real InceptionV3 by its name."""
    two_ways = []
    for kind, options in MODULES.items():
        handle = f"https://tfhub.dev/someone/{kind.__name__}/1"
        kinds.cached(made(kind), cache, handle)
        two_ways.append((f"hub:{handle}{options}", f"hub:{made(kind)}{options}"))
    kinds.cached(made(kinds.inception), cache, INCEPTION)
    handles = [ways[number % 2] for number, ways in enumerate(two_ways)]
    names = (*handles, "inception-v3", DEFAULT_TEXT, DEFAULT_IMAGE)
    read = read_once(replace(source, encoders=names))
    assert [each.encoded for each in read.extractions] == [ROWS] * len(names)
    assert all(verify(store) == [] for store in read.stores)
    vectors = read.features.vectors
    assert vectors["inception-v3"].shape == (ROWS, 2048) and len(np.unique(vectors["inception-v3"], axis=0)) == ROWS

    photo = (tmp_path / "photos" / "0.jpg").read_bytes()
    colour = decode(photo, kinds.SIZE).mean((0, 1)) / 255
    np.testing.assert_allclose(vectors[handles[3]][0, :3], colour, rtol=0.01)
    np.testing.assert_allclose(vectors[handles[5]][0, :3], 2 * colour - 1, rtol=0.01, atol=0.002)
    np.testing.assert_allclose(vectors[handles[1]], vectors[handles[2]], atol=0.01)

    assert train(read, None, {}, 0.3, 0, tmp_path / "model", 0.02).head == "fused"
    told = (tmp_path / "model" / "classifier.json").read_text()
    assert all(name in told for name in names)

    other_ways = [ways[(number + 1) % 2] for number, ways in enumerate(two_ways)]
    again = read_once(replace(source, encoders=(*other_ways, "inception-v3")))
    assert [each.encoded for each in again.extractions] == [0] * 7
    [text] = [text for batch in read.catalog.batches(1) for text in batch.texts[:1]][:1]
    for handle, other in zip(handles, other_ways, strict=True):
        made_again = encoder(other)
        item = made_again.prepare(text if made_again.modality == "text" else photo)
        np.testing.assert_allclose(made_again.encode([item])[0], vectors[handle][0], rtol=0.01, atol=0.01)


def test_a_second_run_starts_no_tensorflow(made: Made, source: Source, tmp_path: Path) -> None:
    handles = [f"hub:{made(kinds.text)}", f"hub:{made(kinds.tf1_image)}#size=12"]
    read = read_once(source, [encoder(handle) for handle in handles])
    assert [each.encoded for each in read.extractions] == [ROWS, ROWS]
    shutil.copytree(made(kinds.text), tmp_path / "copied")
    handles[0] = f"hub:{tmp_path / 'copied'}"
    again = """if True:
        import sys
        from pathlib import Path
        from headstart.catalog import Columns
        from headstart.workflow import Source, read_once
        path, *handles = sys.argv[1:]
        folder = Path(path)
        columns = Columns("sku", ("titre",), "photo", "rayon")
        source = Source(folder / "listings.csv", columns, folder / "photos", store=folder / "store", encoders=handles)
        print([each.encoded for each in read_once(source).extractions])
        print([name for name in ("tensorflow", "keras", "tensorflow_hub") if name in sys.modules])
    """
    ran = subprocess.run([sys.executable, "-c", again, str(tmp_path), *handles], capture_output=True, text=True)
    assert ran.stdout == "[0, 0]\n[]\n", ran.stderr


def test_the_fingerprint_is_of_the_weights(made: Made, cache: Path, tmp_path: Path) -> None:
    first = encoder(f"hub:{made(kinds.text)}")
    shutil.copytree(made(kinds.text), tmp_path / "renamed")
    place = kinds.cached(made(kinds.text), cache, NOWHERE)
    same = [encoder(f"hub:{tmp_path / 'renamed'}"), encoder(f"hub:{NOWHERE}"), encoder(f"hub:{place}")]
    assert {each.fingerprint for each in same} == {first.fingerprint}
    other = encoder(f"hub:{kinds.text(tmp_path / 'other', seed=1)}")
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("batch", [1, 7, 45])
def test_the_batch_changes_no_vector(made: Made, batch: int) -> None:
    read = encoder(f"hub:{made(kinds.vocabulary)}")
    texts = [" ".join(kinds.WORDS[: 1 + number % 8]) for number in range(45)]
    ready = [read.prepare(text) for text in texts]
    parts = [read.encode(ready[start : start + batch]) for start in range(0, 45, batch)]
    np.testing.assert_allclose(np.concatenate(parts), read.encode(ready), atol=1e-6)


def test_output_that_is_not_finite_is_refused(made: Made, source: Source) -> None:
    read = encoder(f"hub:{made(kinds.not_a_number)}")
    assert "not finite" in refusal(lambda: read_once(source, [read]))
    wrong = encoder(f"hub:{made(kinds.picky)}#range=0..1")
    assert "not finite" in refusal(lambda: read_once(source, [wrong]))


def test_a_row_that_is_lost_and_a_text_that_breaks_the_module_are_told_in_one_line(made: Made, tmp_path: Path) -> None:
    read = encoder(f"hub:{made(kinds.tf1_text)}")
    with_empty = [read.prepare(text) for text in ("acier", "", "drap")]
    message = refusal(lambda: read.encode(with_empty[1:2]))
    assert read.name in message and "(0, 8) for 1 texts" in message
    strict = encoder(f"hub:{kinds.strict(tmp_path / 'strict')}")
    assert strict.encode([b"1.5", b"2"]).tolist() == [[1.5] * 8, [2] * 8]
    message = refusal(lambda: strict.encode([b"1.5", b"acier"]))
    assert strict.name in message and "fails on 2 texts" in message


def test_it_cannot_be_fine_tuned_yet(made: Made) -> None:
    read = encoder(f"hub:{made(kinds.text)}")
    assert read.name in refusal(read.trainable)


# ---- where it lies, and how it comes


def test_a_folder_that_is_not_there_or_not_whole(tmp_path: Path, made: Made) -> None:
    missing = encoder(f"hub:{tmp_path / 'nowhere'}")
    assert not missing.here() and "no such folder" in refusal(missing.spec)
    shutil.copytree(made(kinds.text) / "variables", tmp_path / "half/variables")
    assert "no saved_model.pb" in refusal(encoder(f"hub:{tmp_path / 'half'}").spec)


def test_a_folder_in_the_home(tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(made(kinds.text), tmp_path / "module")
    assert encoder("hub:~/module").here()


def test_offline_one_line_says_three_ways(cache: Path) -> None:
    read = encoder(f"hub:{NOWHERE}")
    assert not read.here()
    for work in (read.spec, read.pull):
        message = refusal(work)
        assert NOWHERE in message and str(cache) in message
        assert "run once online" in message and "TFHUB_CACHE_DIR" in message
        assert f"headstart encoders pull hub:{NOWHERE} --from FILE" in message
    assert "TFHUB_CACHE_DIR" in os.environ and not list(cache.glob("*.lock"))


def test_without_the_variable_it_lies_in_our_own_cache(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TFHUB_CACHE_DIR")
    assert str(tmp_path / "cache" / "tfhub") in refusal(encoder(f"hub:{NOWHERE}").spec)
    assert "TFHUB_CACHE_DIR" not in os.environ
    kinds.cached(made(kinds.text), tmp_path / "cache" / "tfhub", NOWHERE)
    assert encoder(f"hub:{NOWHERE}").dim == kinds.DIM


@pytest.fixture
def online(made: Made) -> Iterator[str]:
    """A hub that has one module, `kinds.text`: the start of its handle."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(made(kinds.text), ".")

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/someone/text/1?tf-hub-format=compressed"
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(archive.getvalue() if there else b"")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/someone"
        server.shutdown()
        thread.join()


def test_it_is_fetched_once(online: str, cache: Path, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"hub:{online}/text/1"
    assert encoder(name).fingerprint == encoder(f"hub:{made(kinds.text)}").fingerprint
    out, err = capsys.readouterr()
    assert f"{online}/text/1" in err and str(cache) in err and not out
    encoder(name).pull()
    assert encoder(name).here() and encoder(name).spec()
    assert capsys.readouterr() == ("", "")
    assert "404" in refusal(encoder(f"hub:{online}/image/1").spec)


def damage(place: Path, how: str) -> None:
    """Make half a module of a whole one."""
    old = time.time() - 3600
    if how == "weights lost":
        (place / "variables/variables.data-00000-of-00001").unlink()
    elif how == "only folders":
        for path in place.rglob("*"):
            if path.is_file():
                path.unlink()
    else:
        shutil.rmtree(place)
        left = place.with_name(f"{place.name}.0123.tmp" if how == "download cut off" else f"{place.name}.lock")
        if how == "download cut off":
            left.mkdir()
        else:
            left.write_text("elsewhere.1234.0123")
        os.utime(left, (old, old))


@pytest.mark.parametrize("how", ["weights lost", "only folders", "download cut off", "lock left"])
def test_half_a_module_is_told_and_mended_by_a_pull(how: str, online: str, made: Made, cache: Path) -> None:
    name = f"hub:{online}/text/1"
    place = kinds.cached(made(kinds.text), cache, f"{online}/text/1")
    damage(place, how)
    read = encoder(name)
    message = refusal(read.spec)
    assert not read.here() and str(place) in message and f"headstart encoders pull {name}" in message
    encoder(name).pull()
    assert encoder(name).dim == kinds.DIM
    assert {path.name for path in cache.iterdir()} == {place.name, f"{place.name}.descriptor.txt"}


def test_a_file_that_is_cut_off_is_fetched_again(online: str, made: Made, cache: Path) -> None:
    name = f"hub:{online}/text/1"
    place = kinds.cached(made(kinds.text), cache, f"{online}/text/1")
    data = place / "variables/variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:10])
    assert "fetch it again" in refusal(encoder(name).spec)
    encoder(name).pull()
    assert encoder(name).fingerprint == encoder(f"hub:{made(kinds.text)}").fingerprint


def test_a_whole_module_is_kept_whatever_is_asked_of_it(made: Made, cache: Path) -> None:
    place = kinds.cached(made(kinds.text), cache, NOWHERE)
    assert "no signature 'none'" in refusal(encoder(f"hub:{NOWHERE}#signature=none").pull)
    assert "for photos" in refusal(encoder(f"hub:{NOWHERE}#size=64").pull)
    assert (place / "saved_model.pb").is_file() and encoder(f"hub:{NOWHERE}").dim == kinds.DIM


def test_a_download_that_goes_on_is_not_disturbed(online: str, cache: Path) -> None:
    place = cache / hashlib.sha1(f"{online}/text/1".encode()).hexdigest()
    growing = cache / f"{place.name}.0123.tmp" / "variables"
    growing.mkdir(parents=True)
    assert "another process" in refusal(encoder(f"hub:{online}/text/1").pull)
    assert growing.is_dir()


@pytest.mark.parametrize("form", ["folder", "tar.gz", "tgz", "in a folder", "tar.gz in a folder"])
def test_what_was_got_elsewhere_is_installed(form: str, made: Made, cache: Path, tmp_path: Path) -> None:
    source = made(kinds.text)
    if form == "in a folder":
        shutil.copytree(source, tmp_path / "outer" / "inner")
        source = tmp_path / "outer"
    elif form != "folder":
        inside = "use_4" if form.endswith("folder") else "."
        source = tarball(source, tmp_path / f"module.{form.partition(' ')[0]}", inside)
    name = f"hub:{NOWHERE}"
    damage(kinds.cached(made(kinds.vocabulary), cache, NOWHERE), "weights lost")
    encoder(name).pull(source)
    assert encoder(name).fingerprint == encoder(f"hub:{made(kinds.text)}").fingerprint
    assert {path.suffix for path in cache.iterdir()} == {"", ".txt"}, "nothing is left aside"
    encoder(name).pull(made(kinds.vocabulary))
    assert encoder(name).fingerprint == encoder(f"hub:{made(kinds.vocabulary)}").fingerprint


def test_what_is_not_that_encoder_is_not_installed(made: Made, cache: Path, tmp_path: Path) -> None:
    name = f"hub:{NOWHERE}"
    kinds.cached(made(kinds.text), cache, NOWHERE)
    before = encoder(name).fingerprint
    text = tmp_path / "a.tar.gz"
    text.write_text("not found")
    half = tarball(made(kinds.text) / "variables", tmp_path / "half.tgz", "variables")
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(half.read_bytes()[:-200])
    torn = tmp_path / "torn.tgz"
    whole = bytearray(tarball(made(kinds.text), torn).read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 200] = bytes(200)
    torn.write_bytes(whole)
    for source in (text, half, cut, torn, tmp_path / "nowhere.tgz", tmp_path, made(kinds.numbers)):
        message = refusal(lambda source=source: encoder(name).pull(source))
        assert name in message or str(source) in message
    assert encoder(name).fingerprint == before
    assert {path.suffix for path in cache.iterdir()} == {"", ".txt"}
    assert "vectors of 512 numbers, the module gives 8" in refusal(lambda: encoder("use").pull(made(kinds.text)))
    assert "takes texts" in refusal(lambda: encoder("inception-v3").pull(made(kinds.text)))
    assert not encoder("use").here()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "evil",
    [
        member("../../evil"),
        member("variables/../../../evil"),
        member("link", tarfile.SYMTYPE, "../../.."),
        member("assets", tarfile.SYMTYPE, "/etc"),
        member("hard", tarfile.LNKTYPE, "../../evil"),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda info: info.name,
)
def test_an_archive_cannot_leave_its_folder(evil: tarfile.TarInfo, made: Made, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(evil, io.BytesIO())
        tar.add(made(kinds.text), ".")
    assert str(path) in refusal(lambda: encoder(f"hub:{NOWHERE}").pull(path))
    assert not list(tmp_path.rglob("evil")) and not list(cache.iterdir())


def test_a_folder_of_ones_own_is_not_pulled_into(made: Made, tmp_path: Path) -> None:
    read = encoder(f"hub:{made(kinds.text)}")
    assert "folder of your own" in refusal(lambda: read.pull(tmp_path))
    read.pull()
    assert "no such folder" in refusal(encoder(f"hub:{tmp_path / 'nowhere'}").pull)


def test_a_photo_encoder_says_what_photo_it_cannot_read(made: Made, source: Source) -> None:
    Image.new("RGB", (4, 4)).save(source.path.parent / "photos" / "1.jpg", "PNG")
    (source.path.parent / "photos" / "2.jpg").write_bytes(b"no photo")
    read: Encoder = encoder(f"hub:{made(kinds.image)}#range=0..1")
    [report] = read_once(source, [read]).extractions
    assert report.encoded == ROWS - 1 and report.failures == [("s2", "not an image of a known format")]
