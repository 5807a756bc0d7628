from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.files import Aside, file_digest, locked, write_atomically, write_text_atomically


def test_a_file_is_written_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    for text in ("première", "", "seconde\n"):
        write_text_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from headstart.files import write_atomically\n"
        "def write(file):\n"
        "    file.write(b'half of the new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), write)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "encoder.json"
    whole = ["a" * 100_000, "b" * 200_000]
    write_text_atomically(path, whole[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        write_text_atomically(path, whole[turn % 2])
    done.set()
    reader.join()
    assert seen <= set(whole)
    assert seen


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        write_text_atomically(tmp_path / parent / "x", "text")


@settings(deadline=None)
@given(content=st.binary(max_size=100))
def test_a_digest_is_the_sha_256_of_the_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("digest") / "x"
    path.write_bytes(content)
    assert file_digest(path) == hashlib.sha256(content).hexdigest()


def test_a_file_aside_takes_its_place_when_it_is_whole_or_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.write_bytes(b"old")
    aside = Aside(path)
    aside.file.write(b"new")
    assert path.read_bytes() == b"old"
    aside.commit()
    assert path.read_bytes() == b"new"
    other = Aside(path)
    other.file.write(b"half")
    other.discard()
    other.discard()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    one, two = Aside(path), Aside(path)  # two writers at once: the last one counts, and neither harms the other
    one.file.write(b"one")
    two.file.write(b"two")
    two.commit()
    one.commit()
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_shared_or_held_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as one, locked(path) as two:
        assert one and two
        with locked(path, exclusive=True) as alone:
            assert not alone
    with locked(path, exclusive=True) as alone:
        assert alone
        with locked(path, exclusive=True) as another:
            assert not another
    with pytest.raises(ZeroDivisionError), locked(path, exclusive=True):
        raise ZeroDivisionError
    with locked(path, exclusive=True) as alone:
        assert alone


def test_a_shared_lock_waits_until_the_other_is_free(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []

    def share() -> None:
        with locked(path) as held:
            order.append(("shared", held))

    with locked(path, exclusive=True):
        waiting = threading.Thread(target=share)
        waiting.start()
        waiting.join(0.1)
        order.append(("alone", True))
    waiting.join()
    assert order == [("alone", True), ("shared", True)]


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_folder_without_locks_gives_none(tmp_path: Path, exclusive: bool) -> None:
    with locked(tmp_path / "nowhere" / "lock", exclusive) as held:
        assert not held


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, signal, sys; from pathlib import Path; from headstart.files import locked\n"
        "with locked(Path(sys.argv[1]), exclusive=True) as held:\n"
        "    assert held; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -signal.SIGKILL
    with locked(path, exclusive=True) as held:
        assert held
