"""What becomes of requests that no client should send, and of those who ask beside them.

    python benchmarks/bad_requests.py --model MODEL --requests 10000

Those of tests/serve/test_bad_requests.py, only more: a server of that model is started that wants a key, and eight
clients send it damaged photos, bombs, broken JSON, wrong lengths, endless heads and the like, drawn from `--seed`,
while one asks about a listing and checks each answer. One in twenty has no key, or another, and asks for the model by
its path or one much like it. Prints what was answered, by kind, the slowest, and memory before and after. Exit 1 if
something hung, was not answered, was served without a key, or got a status that the API does not document. Needs
Linux's /proc.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    """Start a server, send, print."""
    sys.path[:0] = [str(TESTS), str(TESTS / "serve")]
    from attacking import attack
    from headstart.runtime import machine
    from headstart.serve.keys import VARIABLE
    from raw_requests import KEY
    from serving import serving

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder that 'headstart train --save' wrote")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = shutil.copytree(given.model, Path(folder) / "model")  # the server's log is put beside it
        with serving(model, "--max-wait", "20", "--drain-seconds", "0", **{VARIABLE: KEY}) as server:
            started = time.monotonic()
            tally = attack(server, given.requests, given.seed)
            took, tracebacks = time.monotonic() - started, server.said.count("Traceback")

    print(f"{machine()}; seed {given.seed}\n\n| kind | requests | answered | slowest, s |\n|---|---|---|---|")
    for kind, told in sorted(tally.by_kind().items()):
        slowest = max(each.seconds for each in tally.outcomes if each.kind == kind)
        answers = ", ".join(f"{status}: {count:,}" for status, count in told.most_common())
        print(f"| {kind} | {sum(told.values()):,} | {answers} | {slowest:.1f} |")
    statuses = Counter(status for each in tally.outcomes for status in each.statuses)
    print(f"\n{len(tally.outcomes):,} connections in {took:.0f} s; answers: {dict(sorted(statuses.items()))}")
    print(f"beside them: {dict(tally.good)}; workers restarted {tally.restarts} times; ready: {tally.ready}")
    for process, before in tally.before.items():
        print(f"memory of the {process}: {before >> 20:,} MB before, {tally.after[process] >> 20:,} MB after")
    wrong = tally.wrong()
    for each in wrong[:20]:
        print(f"WRONG {each}")
    print(f"{len(wrong)} went wrong, {tracebacks} tracebacks")
    sys.exit(bool(wrong or tally.restarts or tracebacks or not tally.ready or "wrong" in tally.good))


if __name__ == "__main__":
    main()
