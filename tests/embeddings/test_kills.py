"""What upkeep leaves when it is killed, and what others see meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from keeping import check_kept, failure, flip, keep, new_store, refusal

from headstart.embeddings import generations
from headstart.embeddings.store import EmbeddingStore
from headstart.embeddings.upkeep import compact, mend, verify

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def an_index_for_few_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "WORTH_KEEPING", 1)
        yield


KILLED_AT_EVERY_STEP = """
import os, shutil, signal, sys
from pathlib import Path
from headstart.embeddings import generations
from headstart.embeddings.store import EmbeddingStore
from headstart.embeddings.upkeep import compact, mend

generations.WORTH_KEEPING = 1
work, root, most_rows = {"compact": compact, "mend": mend}[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3])
left = -1

def step(event, arguments):
    global left
    if event in ("os.rename", "os.remove") or event == "open" and arguments[1] == "xb":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
for number in range(1, 1000):
    [folder] = shutil.copytree(root / "whole", root / str(number)).iterdir()
    child = os.fork()
    if not child:
        left = number
        store = EmbeddingStore(folder)
        compact(store, most_rows=most_rows) if work is compact else mend(store)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.parametrize(("work", "most_rows"), [("compact", 65_536), ("compact", 4), ("mend", 0)])
def test_killed_at_any_step_nothing_is_lost(tmp_path: Path, work: str, most_rows: int) -> None:
    store = new_store(tmp_path / "whole")
    keep(store, "a", "b", failed=[failure("x")])
    keep(store, "c", "b", "d", failed=[failure("y")])
    store.refresh()
    store.settle()
    keep(store, "e", failed=[failure("x")])
    keep(store, "f")
    texts = "abcdef"
    if work == "mend":
        store.refresh()
        flip(store.folder / f"{store.receipts[1].id}.npy", -1, 0)
        flip(store.folder / f"{store.receipts[3].id}.json", 40, 0)
        texts = "abcef"
    subprocess.run([sys.executable, "-c", KILLED_AT_EVERY_STEP, work, tmp_path, str(most_rows)], check=True, cwd=HERE)
    folders = sorted((path for path in tmp_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert len(folders) > 12, "every file that is made, renamed or deleted is a step"
    for folder in folders:
        [killed] = folder.iterdir()
        opened = EmbeddingStore(killed)
        if work == "compact":
            assert verify(opened) == []
            check_kept(opened, texts)
            assert len(opened.failures()) == 2
        mend(opened)
        compact(opened)
        assert verify(opened) == []
        check_kept(opened, texts)
        assert len(opened) == len(texts) and len(opened.receipts) == 1
        assert opened.failures().keys() == {failure(text).key for text in "xy"}
        names = {path.name.split(".", 1)[1] for path in killed.iterdir() if "." in path.name}
        assert names == {"json", "npy", "keys.npy", "index.json", "index.npy"}, "nothing is left over"


READS_IN_A_LOOP = """
import sys
from pathlib import Path
from headstart.embeddings.store import EmbeddingStore
from keeping import check_kept

folder, texts = Path(sys.argv[1]), sys.argv[2].split()
once, looks = EmbeddingStore(folder), 0
check_kept(once, texts)
print("ready", flush=True)
while not (folder / "done").exists():
    looks += 1
    check_kept(EmbeddingStore(folder), texts)
    check_kept(once, texts)
    if looks % 2:
        once.refresh()
print(looks)
"""


def test_a_reader_sees_no_error_and_no_gap_while_others_append_and_compact(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    texts = [f"t{number}" for number in range(40)]
    for start in range(0, 40, 4):
        keep(store, *texts[start : start + 4])
    command = [sys.executable, "-c", READS_IN_A_LOOP, store.folder, " ".join(texts)]
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent.parent, env=environment
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for turn in range(40):
            keep(store, f"new {turn}", texts[turn])
            if turn % 3 == 2:
                compact(store, most_rows=7 + turn)
        (store.folder / "done").touch()
        looks = int(reader.stdout.read())
    assert reader.returncode == 0
    assert looks >= 3


def test_a_process_that_is_killed_holds_the_store_no_longer(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    keep(store, *"abcdef")
    code = (
        "import sys, time; from pathlib import Path; from headstart.embeddings.store import EmbeddingStore\n"
        "with EmbeddingStore(Path(sys.argv[1])).in_use():\n    print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, store.folder], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert "is in use" in refusal(lambda: compact(store))
        other.send_signal(signal.SIGKILL)
    compact(store)
    check_kept(store, "abcdef")
