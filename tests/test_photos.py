from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart.photos import PhotoFolder, file_stats


def test_sizes_and_times_are_those_of_the_files(tmp_path: Path) -> None:
    """More than are asked for at once, so that several threads answer."""
    paths = []
    for number in range(2500):
        path = tmp_path / str(number)
        path.write_bytes(b"a" * (number % 7))
        os.utime(path, ns=(0, 10**18 + number))
        paths.append(str(path))
    sizes, times = file_stats(paths).tolist()
    assert sizes == [number % 7 for number in range(2500)]
    assert times == [10**18 + number for number in range(2500)]


def test_what_is_no_file_or_cannot_be_asked_for_has_no_size(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")  # not valid UTF-8
    (tmp_path / name).write_bytes(b"abc")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(name)
    names = ["gone", "", name, "a\0b", "n" * 300, "loop", "link", f"{name}/inside"]
    assert file_stats([str(tmp_path / part) for part in names])[0].tolist() == [-1, -1, 3, -1, -1, -1, 3, -1]
    assert file_stats(["", "/dev/null"])[0].tolist() == [-1, -1]
    assert file_stats([]).shape == (2, 0)


def test_photos_are_given_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    paths, stats = PhotoFolder(Path("photos")).find_by_id(["1", "2"])
    assert paths == [str(tmp_path / "photos" / "1.png"), None]
    assert stats[0].tolist() == [3, -1]
