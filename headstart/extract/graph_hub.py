"""Modules in the hub's TF1 format as others: their variables, which cannot be saved again, as constants."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import Any

from headstart.errors import EncoderError, one_line
from headstart.runtime import tensorflow


def with_constants(folder: Path) -> Any:
    """The module in the folder, of the TF1 format, loaded so that it can be saved as a part of another.

    What it was loaded from lies in a temporary folder as long as the module lives: its tables are read from there when
    it is saved.

    Raises:
        EncoderError: it has no such form, as one of more than two gigabytes.
    """
    place = tempfile.TemporaryDirectory()
    try:
        _rewrite(folder, place.name)
        module = tensorflow().saved_model.load(place.name, [])
    except Exception as error:  # whatever a stranger's graph raises
        place.cleanup()
        raise EncoderError(
            f"{folder} is in the hub's TF1 format and cannot be exported ({one_line(error)}): choose a TF2 module, or "
            "use 'headstart serve', which serves every encoder"
        ) from None
    weakref.finalize(module, place.cleanup)
    return module


def _rewrite(folder: Path, place: str) -> None:
    tf = tensorflow()
    v1 = tf.compat.v1
    keys = v1.GraphKeys
    with v1.Session(graph=v1.Graph()) as session:
        signatures = dict(v1.saved_model.load(session, [], str(folder)).signature_def)
        outputs = {each.name.partition(":")[0] for told in signatures.values() for each in told.outputs.values()}
        tables = [each.name for each in v1.get_collection(keys.TABLE_INITIALIZERS)]
        assets = {each.name for each in v1.get_collection(keys.ASSET_FILEPATHS)}
        graph = v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), [*sorted(outputs), *tables]
        )
    with v1.Session(graph=v1.Graph()) as session:
        tf.import_graph_def(graph, name="")
        builder = v1.saved_model.Builder(place)
        builder.add_meta_graph_and_variables(
            session,
            [],
            signatures,
            assets_collection=[session.graph.get_tensor_by_name(each) for each in sorted(assets)],
            main_op=tf.group(*map(session.graph.get_operation_by_name, tables)),
        )
        builder.save()
