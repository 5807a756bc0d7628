"""Do `headstart predict`, the API and the exported SavedModel say the same of every listing?

    python benchmarks/parity.py CATALOG --model MODEL --text COLUMN --image COLUMN --images FOLDER --label COLUMN …

Each is asked in a process or by an interface of its own: `predict` by its command, the API by HTTP, the SavedModel by
`export --check`. Prints the share of listings with the same category, and how far apart the probabilities are.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from serve import running

from catalog_options import catalog_parser, source
from headstart.runtime import machine

AT_ONCE = 16
HEADSTART = (sys.executable, "-c", "from headstart.cli import main; main()")
Said = list[tuple[str, float, str]]
"""Category, probability and decision of each listing."""


def main() -> None:
    """Compare and print."""
    parser = catalog_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    print(machine())
    listings = [
        (text or "", Path(photo).read_bytes() if photo else b"")
        for batch in source(given, ()).open().batches()
        for text, photo in zip(batch.texts, batch.photos, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        predicted = of_predict(given, Path(folder))
        print(f"{len(predicted):,} listings")
        tell("API", predicted, of_api(given.model, listings))
        print(f"{'SavedModel':10}  {of_saved_model(given, Path(folder))}")


def tell(name: str, one: Said, other: Said) -> None:
    """How far apart two of them are."""
    pairs = list(zip(one, other, strict=True))
    same = sum(mine[0] == theirs[0] for mine, theirs in pairs)
    apart = sorted((abs(mine[1] - theirs[1]) for mine, theirs in pairs), reverse=True)
    decided = sum(mine[2] == theirs[2] for mine, theirs in pairs)
    print(
        f"{name:10}  same category as predict: {same:,} of {len(pairs):,} ({same / len(pairs):.2%}), same decision: "
        f"{decided:,}; probabilities apart by at most {apart[0]:.5f}, next {apart[1]:.5f}, {apart[2]:.5f}"
    )


def of_predict(given: Any, folder: Path) -> Said:
    """By the command."""
    out = folder / "said.jsonl"
    command = [*HEADSTART, "predict", str(given.model), str(given.catalog), *reading(given), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    rows = map(json.loads, out.read_text().splitlines())
    return [(row["category"], row["probability"], row["decision"]) for row in rows]


def of_api(model: Path, listings: list[tuple[str, bytes]]) -> Said:
    """By HTTP."""
    found: Said = []
    with running("serve", str(model), "--max-wait", "60") as server:
        for start in range(0, len(listings), AT_ONCE):
            instances = [
                {"text": text, "image_bytes": {"b64": base64.b64encode(photo).decode()}}
                for text, photo in listings[start : start + AT_ONCE]
            ]
            body = json.dumps({"instances": instances}).encode()
            with urllib.request.urlopen(f"{server.url}/v1/models/model:predict", body) as answer:
                for each in json.loads(answer.read())["predictions"]:
                    found.append((each["category"], each["probability"], each["decision"]))
    return found


def of_saved_model(given: Any, folder: Path) -> str:
    """What its check says."""
    command = [*HEADSTART, "export", str(given.model), str(folder), "--check", str(given.catalog), *reading(given)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def reading(given: Any) -> list[str]:
    """How the catalogue is read, as options of the command."""
    words = ["--id", given.id, "--images", str(given.images), "--image", given.image, "--store", str(given.store)]
    return [*words, *(word for text in given.text for word in ("--text", text))]


if __name__ == "__main__":
    main()
