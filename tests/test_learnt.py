"""Encoders that have learnt from some of the listings: what they are judged on, and what must not be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blinkered import Blinkered, registered
from headstart import fine_tuning
from headstart.catalog import Columns
from headstart.errors import EncoderError
from headstart.extract.registry import encoder
from headstart.extract.tuned import save_tuned
from headstart.workflow import Source

NONE = np.zeros((2, 0), np.uint64)


@pytest.fixture(scope="module", autouse=True)
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with registered(tmp_path_factory.mktemp("package")):
        yield


def test_an_encoder_is_not_saved_over_one_that_it_is_made_of(tmp_path: Path) -> None:
    base = Blinkered()
    for name in "abc":
        save_tuned(tmp_path / name, base, [np.zeros(3)], NONE, {})
        base = encoder(f"tuned:{tmp_path / name}")
    (tmp_path / "linked").symlink_to("a")
    source = Source(Path("unread.csv"), Columns("id", ("text",)), encoders=(f"tuned:{tmp_path / 'c'}",))
    for name in (*"abc", "linked", "c/../b"):
        with pytest.raises(EncoderError, match="which the new encoder would be made of: give another --save"):
            fine_tuning.check(source, tmp_path / name)
    fine_tuning.check(source, tmp_path / "d")
    fine_tuning.check(Source(source.path, source.columns, encoders=("blinkered",)), tmp_path / "a")
