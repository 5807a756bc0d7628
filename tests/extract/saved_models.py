"""SavedModels as they are found in the world, built small: both of the hub's formats, and what goes wrong in them.

Each builder writes into a folder that is not there yet and returns it.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import catalogs
from headstart.runtime import keras, tensorflow

BUCKETS = 64
DIM = 8
SIZE = 16
WORDS = tuple(sorted(word for words in catalogs.WORDS.values() for word in words.split()))

Builder = Callable[[Path], Path]


def ready(base: Path, builder: Builder) -> Path:
    """What the builder builds, built once under `base`."""
    folder = base / "saved-models" / builder.__name__
    folder.parent.mkdir(exist_ok=True)
    return folder if folder.exists() else builder(folder)


def weights(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)


def word_weights() -> np.ndarray:
    """A vector for each word of the vocabulary, and nothing for all others."""
    return np.vstack([weights(len(WORDS)), np.zeros((1, DIM), np.float32)])


def _mosaic(photos: Any, matrix: Any) -> Any:
    """Mean colour, and beside it how 4 × 4 cells differ from it, times a matrix."""
    tf = tensorflow()
    colour = tf.reduce_mean(photos, [1, 2])
    cells = tf.compat.v1.image.resize_area(photos, [4, 4]) - colour[:, None, None]
    return tf.concat([colour, 20 * tf.reshape(cells, [-1, 48]) @ matrix], 1)


def _save(folder: Path, call: Callable[[Any], Any] | None, spec: Any, **attributes: Any) -> Path:
    """The hub's TF2 format: an object that is called."""
    tf = tensorflow()
    module = tf.train.Checkpoint(**attributes)
    if call is not None:
        module.__call__ = tf.function(call, input_signature=[spec])
    tf.saved_model.save(module, str(folder))
    return folder


def text(folder: Path, seed: int = 0) -> Path:
    """Sum of the vectors of a text's words, by hash."""
    tf = tensorflow()
    table = tf.Variable(weights(BUCKETS, seed))

    def call(texts: Any) -> Any:
        words = tf.strings.to_hash_bucket_fast(tf.strings.split(texts), BUCKETS)
        return tf.reduce_sum(tf.gather(table, words), axis=1)

    return _save(folder, call, tf.TensorSpec([None], tf.string), table=table)


def vocabulary(folder: Path) -> Path:
    """As `text`, the words looked up in a table that is filled from an asset."""
    tf = tensorflow()
    words = folder.with_suffix(".txt")
    words.write_text("\n".join(WORDS))
    asset = tf.saved_model.Asset(str(words))
    numbers = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            asset.asset_path,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        1,
    )
    table = tf.Variable(word_weights())

    def call(texts: Any) -> Any:
        ids = tf.ragged.map_flat_values(numbers.lookup, tf.strings.split(texts))
        return tf.reduce_sum(tf.gather(table, ids), axis=1)

    return _save(folder, call, tf.TensorSpec([None], tf.string), table=table, numbers=numbers, asset=asset)


def image(folder: Path, size: int | None = SIZE, dtype: str = "float32", seed: int = 0) -> Path:
    """See `_mosaic`."""
    tf = tensorflow()
    matrix = tf.Variable(weights(48, seed)[:, 3:])

    def call(photos: Any) -> Any:
        return _mosaic(tf.cast(photos, tf.float32), matrix)

    return _save(folder, call, tf.TensorSpec([None, size, size, 3], dtype), matrix=matrix)


def tunable_text(folder: Path) -> Path:
    """As `text`, and it says what can be trained: the vectors, and a variable that nothing depends on."""
    tf = tensorflow()
    table, unused = tf.Variable(weights(BUCKETS)), tf.Variable([1.0])

    def call(texts: Any) -> Any:
        words = tf.strings.to_hash_bucket_fast(tf.strings.split(texts), BUCKETS)
        return tf.reduce_sum(tf.gather(table, words), axis=1)

    variables = [table, unused]
    return _save(folder, call, tf.TensorSpec([None], tf.string), trainable_variables=variables)


def tunable_image(folder: Path) -> Path:
    """Mean colour times a matrix in double precision that can be trained. It counts its calls: no constant."""
    tf = tensorflow()
    matrix, calls = tf.Variable(weights(3).astype(np.float64)), tf.Variable(0, trainable=False)

    def call(photos: Any) -> Any:
        calls.assign_add(1)
        return tf.cast(tf.reduce_mean(tf.cast(photos, tf.float64), [1, 2]) @ matrix, tf.float32)

    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)
    return _save(folder, call, spec, trainable_variables=[matrix], calls=calls)


def picky(folder: Path) -> Path:
    """As `image`, for pixels from -1 to 1: a photo with none below 0, or with others, gives no numbers."""
    tf = tensorflow()

    def call(photos: Any) -> Any:
        low, high = tf.reduce_min(photos, [1, 2, 3]), tf.reduce_max(photos, [1, 2, 3])
        seen = (low < -0.01) & (low >= -1.001) & (high <= 1.001)
        return tf.where(seen[:, None], _mosaic(photos, weights(48)[:, 3:]), np.nan)

    return _save(folder, call, tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32))


def not_a_number(folder: Path) -> Path:
    tf = tensorflow()

    def call(texts: Any) -> Any:
        return tf.fill([tf.size(texts), DIM], tf.constant(np.nan))

    return _save(folder, call, tf.TensorSpec([None], tf.string))


def numbers(folder: Path) -> Path:
    """No encoder: numbers → numbers."""
    tf = tensorflow()
    call = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None, 10], tf.float32, name="x")])
    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures={"twice": call})
    return folder


def several(folder: Path) -> Path:
    """Two signatures of texts, of unusual names, with a vector, another, and letters' numbers in one of them."""
    tf = tensorflow()
    spec = tf.TensorSpec([None, 1], tf.string, name="texts")

    def length(texts: Any) -> Any:
        return tf.cast(tf.strings.length(texts), tf.float32)

    short = tf.function(lambda texts: {"vector": tf.tile(length(texts), [1, 3])}, input_signature=[spec])
    both = {"wide": [1, 5], "narrow": [1, 2]}
    long = tf.function(
        lambda texts: {**{key: tf.tile(length(texts), by) for key, by in both.items()}, "map": texts},
        input_signature=[spec],
    )
    tf.saved_model.save(tf.Module(), str(folder), signatures={"short": short, "long": long})
    return folder


def feature_map(folder: Path) -> Path:
    """A network that does not pool."""
    tf = tensorflow()
    return _save(folder, lambda x: x[:, ::2, ::2], tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32))


def wide(folder: Path) -> Path:
    """For photos that are not square."""
    tf = tensorflow()
    return _save(folder, lambda x: tf.reduce_mean(x, [1, 2]), tf.TensorSpec([None, 16, 32, 3], tf.float32))


def trained(folder: Path) -> Path:
    """A Keras-like call with a switch for training, which adds 100, traced first."""
    tf = tensorflow()
    module = tf.Module()

    def call(photos: Any, training: bool = True) -> Any:
        return tf.reduce_mean(photos, [1, 2]) + (100.0 if training else 0.0)

    module.__call__ = tf.function(call)
    for training in (True, False):
        module.__call__.get_concrete_function(tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32), training)
    tf.saved_model.save(module, str(folder))
    return folder


def in_training(folder: Path) -> Path:
    """Photos less the mean of their batch, as batch normalisation does while it learns."""
    tf = tensorflow()

    def call(photos: Any) -> Any:
        means = tf.reduce_mean(photos, (1, 2))
        return means - tf.reduce_mean(means, 0, keepdims=True)

    return _save(folder, call, tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32))


def tf1_text(folder: Path) -> Path:
    """The hub's TF1 format: a graph without tags beside tfhub_module.pb; words are looked up in a table of an asset."""
    tf = tensorflow()
    v1 = tf.compat.v1
    words = folder.with_suffix(".txt")
    words.write_text("\n".join(WORDS))
    with v1.Graph().as_default(), v1.Session() as session:
        asset = tf.constant(str(words))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        lookup = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            1,
        )
        table = v1.get_variable("table", initializer=word_weights(), use_resource=False)
        texts = v1.placeholder(tf.string, [None])
        words_of = v1.string_split(texts)
        ids = tf.SparseTensor(words_of.indices, lookup.lookup(words_of.values), words_of.dense_shape)
        vectors = v1.nn.embedding_lookup_sparse(table, ids, None, combiner="sum")
        return _save_tf1(folder, session, {"text": texts}, vectors)


def tf1_image(folder: Path) -> Path:
    """As `image`, in the hub's TF1 format, the size not told."""
    tf = tensorflow()
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        matrix = v1.get_variable("matrix", initializer=weights(48)[:, 3:], use_resource=False)
        photos = v1.placeholder(tf.float32, [None, None, None, 3])
        return _save_tf1(folder, session, {"images": photos}, _mosaic(photos, matrix))


def _save_tf1(folder: Path, session: Any, inputs: dict[str, Any], vectors: Any) -> Path:
    tf = tensorflow()
    v1 = tf.compat.v1
    session.run([v1.global_variables_initializer(), v1.tables_initializer()])
    builder = v1.saved_model.Builder(str(folder))
    signature = v1.saved_model.signature_def_utils.predict_signature_def(inputs, {"default": vectors})
    builder.add_meta_graph_and_variables(
        session,
        tags=[],
        signature_def_map={"default": signature},
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
    )
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format version 3
    return folder


def strict(folder: Path) -> Path:
    """Fails on texts that are no numbers, once it is not tried on its own two."""
    tf = tensorflow()

    def call(texts: Any) -> Any:
        known = tf.where((texts == "a") | (texts == "two words"), "0", texts)
        return tf.tile(tf.strings.to_number(known)[:, None], [1, DIM])

    return _save(folder, call, tf.TensorSpec([None], tf.string))


def tokenizer(folder: Path) -> Path:
    """How many words a text has, counted by an operation of TensorFlow Text."""
    tf = tensorflow()
    words = importlib.import_module("tensorflow_text").WhitespaceTokenizer()

    def call(texts: Any) -> Any:
        return tf.tile(tf.cast(words.tokenize(texts).row_lengths(), tf.float32)[:, None], [1, 2])

    return _save(folder, call, tf.TensorSpec([None], tf.string))


def inception(folder: Path) -> Path:
    """The real InceptionV3 for 299 × 299 pixels from 0 to 1, its weights at random, in the hub's TF2 format.

    A network that has learnt nothing gives nearly one vector for all photos: those of a few mosaics say how they are
    to be centred and scaled.
    """
    tf = tensorflow()
    keras().utils.set_random_seed(0)
    model = keras().applications.InceptionV3(weights=None, include_top=False, pooling="avg", input_shape=(299, 299, 3))
    seen = tf.image.resize(np.random.default_rng(0).uniform(-1, 1, (6, 4, 4, 3)), (299, 299), "nearest")
    vectors = model(seen, training=False)
    mean, scale = tf.Variable(tf.reduce_mean(vectors, 0)), tf.Variable(tf.math.reduce_std(vectors, 0) + 1e-6)
    return _save(
        folder,
        lambda photos: (model(2 * photos - 1, training=False) - mean) / scale,
        tf.TensorSpec([None, None, None, 3], tf.float32),
        model=model,
        mean=mean,
        scale=scale,
    )


def cached(folder: Path, cache: Path, handle: str) -> Path:
    """Put a module where the hub's library keeps it."""
    place = cache / hashlib.sha1(handle.encode()).hexdigest()
    shutil.copytree(folder, place)
    place.with_name(f"{place.name}.descriptor.txt").write_text(f"Module: {handle}\n")
    return place
