from __future__ import annotations

from pathlib import Path

import pytest

from headstart.cache import cache_folder, read_note, write_note


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def test_it_lies_where_the_variable_says(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder == tmp_path / "cache" and not folder.exists()
    monkeypatch.setenv("HEADSTART_CACHE", "~/kept")
    assert cache_folder() == Path.home() / "kept"


@pytest.mark.parametrize("value", ["", None])
def test_without_the_variable_it_is_ours_in_the_users_cache(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADSTART_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("HEADSTART_CACHE", value)
    for home in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(home, str(tmp_path))
    found = cache_folder()
    assert tmp_path in found.parents and "headstart" in found.parts


def test_a_note_is_read_again(folder: Path) -> None:
    key = "any/key: of … any length " * 100
    assert read_note("rates", key) is None
    write_note("rates", key, {"rate": 81.5, "what": "é", "sizes": [1, None]})
    assert read_note("rates", key) == {"rate": 81.5, "what": "é", "sizes": [1, None]}
    assert read_note("rates", key + "!") is None and read_note("others", key) is None
    write_note("rates", key, {})
    assert read_note("rates", key) == {}
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1, "nothing is left aside"


@pytest.mark.parametrize("damage", [b"", b'{"rate": 1', b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_a_damaged_note_counts_as_none(folder: Path, damage: bytes) -> None:
    write_note("rates", "a", {"rate": 1})
    next(path for path in folder.rglob("*") if path.is_file()).write_bytes(damage)
    assert read_note("rates", "a") is None
    write_note("rates", "a", {"rate": 2})
    assert read_note("rates", "a") == {"rate": 2}


def test_where_nothing_can_be_written_nothing_is_kept(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    write_note("rates", "a", {"rate": 1})
    assert read_note("rates", "a") is None and folder.is_file()
