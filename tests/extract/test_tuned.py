"""Encoders that were fine-tuned: saved, read back, damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import saved_models as kinds

from blinkered import Blinkered, Colourblind, environment, registered
from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.trunk import Trunk
from headstart.extract.tuned import TUNED, TunedEncoder, save_tuned
from headstart.heads.finetune import variables_of
from headstart.sealed import sealed

LEARNT = np.arange(10, dtype=np.uint64).reshape(2, 5)


@pytest.fixture(autouse=True)
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("package")
    with registered(folder):
        yield folder


def save(folder: Path, base: Encoder | None = None, by: float = 0.1) -> list[np.ndarray]:
    """Save an encoder whose variables were all moved by so much; what they are."""
    base = base or Blinkered()
    values = [each.numpy() + np.asarray(by, each.dtype.as_numpy_dtype) for each in variables_of(base.trainable())]
    save_tuned(folder, base, values, LEARNT, {"depth": "full", "epoch": np.int64(3)})
    return values


def refusal(folder: Path) -> str:
    """Of an encoder that is used for the first time, in one line; it is not said to be here."""
    made = encoder(f"tuned:{folder}")
    with pytest.raises(EncoderError) as caught:
        _ = made.fingerprint, made.learnt, made.encode([np.zeros(11, np.float32)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_gives_the_vectors_of_the_network_that_was_saved(tmp_path: Path) -> None:
    items = {"text": ["abcx", "zzzy", ""], "image": [np.full((8, 8, 3), tone, np.uint8) for tone in (0, 90, 255)]}
    for base in (Blinkered(), Colourblind()):
        folder = tmp_path / base.name
        values = save(folder, base)
        made = encoder(f"tuned:{folder}")
        ready = [base.prepare(item) if base.modality == "text" else item for item in items[base.modality]]
        network = base.trainable()
        for variable, value in zip(network.trainable_variables, values, strict=True):
            variable.assign(value)
        np.testing.assert_allclose(made.encode(ready), network(base.collate(ready), training=False), atol=1e-5)
        assert (made.modality, made.dim, made.takes) == (base.modality, base.dim, base.takes)
        assert made.here() and made.fingerprint != base.fingerprint
        assert isinstance(made, TunedEncoder) and made.base.fingerprint == base.fingerprint
        np.testing.assert_array_equal(made.learnt, LEARNT)
        for variable, value in zip(made.trainable().trainable_variables, values, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        card = json.loads((folder / "tuned.json").read_text())
        assert card["how"] == {"depth": "full", "epoch": 3} and card["base"] == base.name


def test_the_fingerprint_is_of_the_variables_and_the_base(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "again")
    save(tmp_path / "other", by=0.2)
    shutil.copytree(tmp_path / "a", tmp_path / "copied")
    a, again, other, copied = (
        encoder(f"tuned:{tmp_path / name}").fingerprint for name in ("a", "again", "other", "copied")
    )
    assert a == again == copied != other
    save_tuned(tmp_path / "twice", encoder(f"tuned:{tmp_path / 'a'}"), save(tmp_path / "b"), LEARNT, {})
    twice = encoder(f"tuned:{tmp_path / 'twice'}")
    assert isinstance(twice, TunedEncoder) and twice.origin.name == "blinkered"
    assert twice.fingerprint == a != encoder(f"tuned:{tmp_path / 'other'}").fingerprint, "these are the same variables"
    save_tuned(tmp_path / "twice", encoder(f"tuned:{tmp_path / 'a'}"), save(tmp_path / "b", by=0.3), LEARNT, {})
    assert encoder(f"tuned:{tmp_path / 'twice'}").fingerprint == encoder(f"tuned:{tmp_path / 'b'}").fingerprint != a
    trunk = Trunk(encoder(f"tuned:{tmp_path / 'a'}"))
    assert trunk.dim == 20 and trunk.fingerprint not in (a, Trunk(Blinkered()).fingerprint)


def test_another_process_finds_it_and_needs_no_tensorflow_to_know_it(names: Path, tmp_path: Path) -> None:
    save(tmp_path / "tuned")
    script = (
        "import sys, pickle; from headstart.extract.registry import encoder; made = encoder('tuned:tuned')\n"
        "made = pickle.loads(pickle.dumps(made))\n"
        "print(made.name, made.here(), made.modality, made.dim, made.fingerprint, made.learnt.shape[1])\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment(names)
    )
    print_ = encoder(f"tuned:{tmp_path / 'tuned'}").fingerprint
    assert done.stdout.split() == ["tuned:tuned", "True", "text", "12", print_, "5"], done.stderr


def test_a_save_replaces_the_one_before_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    prints = []
    for by in (0.1, 0.2):
        save(tmp_path, by=by)
        prints.append(encoder(f"tuned:{tmp_path}").fingerprint)
        assert len(list(tmp_path.iterdir())) == 4
    assert prints[0] != prints[1] and (tmp_path / "notes.txt").read_text() == "mine"


KILLED_AT_EVERY_STEP = """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
from blinkered import Blinkered
from headstart.extract.tuned import save_tuned

root, left, base = Path(sys.argv[1]), -1, Blinkered()
base.fingerprint
shapes = [(11, 20), (20,), (20, 12), (12,)]

def step(event, arguments):
    global left
    if event in ("os.rename", "os.remove") or event == "open" and arguments[1] in ("xb", "wb", "w+b", "r+b"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
for number in range(1, 1000):
    folder = shutil.copytree(root / "whole", root / str(number))
    child = os.fork()
    if not child:
        left = number
        save_tuned(folder, base, [np.full(shape, 0.5, np.float32) for shape in shapes], np.zeros((2, 3), np.uint64), {})
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_at_any_step_a_save_leaves_the_old_or_the_new(names: Path, tmp_path: Path) -> None:
    save(tmp_path / "whole")
    old = encoder(f"tuned:{tmp_path / 'whole'}").fingerprint
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path)]
    subprocess.run(command, check=True, env=environment(names))
    folders = sorted((path for path in tmp_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    prints = []
    for folder in folders:
        made = encoder(f"tuned:{folder}")
        assert isinstance(made, TunedEncoder)
        prints.append(made.fingerprint)
        assert made.learnt.shape == (2, 5 if prints[-1] == old else 3)
        assert len(made.trainable().trainable_variables) == 4
    assert len(folders) > 6 and prints[0] == old != prints[-1]
    assert prints == sorted(prints, key=lambda each: each != old), "once it is the new one it stays so"


# ---- damage


def variables(folder: Path) -> Path:
    (path,) = folder.glob("variables-*.npz")
    return path


def test_every_damage_is_told_in_one_line(tmp_path: Path) -> None:
    assert "headstart fine-tune --save" in refusal(tmp_path / "nowhere")
    save(tmp_path / "whole")
    rng = np.random.default_rng(0)
    for number, name in enumerate(["variables-*.npz", "learnt-*.npz", "tuned.json"] * 4):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        (path,) = folder.glob(name)
        data = bytearray(path.read_bytes())
        if number < 3:
            path.unlink()
        elif number < 6:
            path.write_bytes(data[: len(data) // 2])
        elif number < 9:
            path.write_bytes(b"")
        else:
            data[rng.integers(len(data))] ^= 1 << rng.integers(7)
            path.write_bytes(data)
        message = refusal(folder)
        assert str(folder) in message and "fine-tune" in message
        assert encoder(f"tuned:{folder}").here() is (name != "tuned.json"), "its files are looked at when they are read"


def test_of_another_format_or_another_base(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "tuned.json"
    card = json.loads(path.read_text())
    del card["seal"]
    path.write_text(sealed({**card, "format": TUNED.format + 1}))
    assert "upgrade it" in refusal(tmp_path)
    path.write_text(sealed({**card, "format": TUNED.format - 1}))
    assert "older headstart" in refusal(tmp_path)
    path.write_text(sealed({**card, "fingerprint": Blinkered(seed=1).fingerprint}))
    assert "bring the one it was made of" in refusal(tmp_path)
    path.write_text(sealed({**card, "base": "blinkered#seed=1"}))
    assert "was made of blinkered#seed=1" in refusal(tmp_path)
    path.write_text(sealed({**card, "base": "unheard-of"}))
    assert "'unheard-of'" in refusal(tmp_path)


def test_variables_of_another_shape(tmp_path: Path) -> None:
    values = [each.numpy() for each in variables_of(Blinkered().trainable())]
    save_tuned(tmp_path, Blinkered(), values[:-1], LEARNT, {})
    assert "does not fit blinkered: fine-tune again" in refusal(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EncoderError, match=r"cannot be written .*: choose another --save"):
        save(tmp_path / "file" / "tuned")


# ---- SavedModels


@pytest.mark.parametrize("kind", [kinds.tunable_text, kinds.tunable_image])
def test_a_saved_model_is_tuned_like_any_other(
    kind: kinds.Builder, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = kinds.ready(tmp_path_factory.getbasetemp(), kind)
    base = encoder(f"hub:{module}" + ("#range=0..1" if kind is kinds.tunable_image else ""))
    save(tmp_path / "same", base, by=0)
    save(tmp_path / "moved", base, by=0.5)
    rng = np.random.default_rng(0)
    items = [rng.integers(0, 256, (kinds.SIZE, kinds.SIZE, 3), np.uint8) for _ in range(3)]
    if base.modality == "text":
        items = [base.prepare(text) for text in ("acier quartz", "", "drap")]
    same, moved = (encoder(f"tuned:{tmp_path / name}") for name in ("same", "moved"))
    np.testing.assert_allclose(same.encode(items), base.encode(items), atol=1e-4)
    assert np.abs(moved.encode(items) - base.encode(items)).max() > 0.1
    assert len({each.fingerprint for each in (base, same, moved)}) == 3


def test_a_saved_model_that_cannot_be_trained_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    for kind, why in ((kinds.tf1_text, "no variables"), (kinds.text, "no variables"), (kinds.image, "ResizeArea")):
        module = kinds.ready(tmp_path_factory.getbasetemp(), kind)
        options = "#range=0..1" if kind is kinds.image else ""
        with pytest.raises(EncoderError, match=rf"^hub:{module}{options}: it [^\n]*{why}[^\n]*$"):
            encoder(f"hub:{module}{options}").trainable()
    module = kinds.ready(tmp_path_factory.getbasetemp(), kinds.tunable_text)
    with pytest.raises(EncoderError, match="cannot be cut"):
        _ = Trunk(encoder(f"hub:{module}")).dim
