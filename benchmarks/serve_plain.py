"""What serve.py compares with: a FastAPI handler that encodes one listing and calls `Classifier.predict_proba`.

    python benchmarks/serve_plain.py MODEL

As a tutorial would have it: loaded once, a plain function that FastAPI runs in its threads, one listing a call. Prints
its address when it is ready.
"""

from __future__ import annotations

import base64
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI

from headstart.embeddings.features import Features
from headstart.heads.classifier import Classifier
from headstart.modelling import encoders_of

classifier = Classifier.load(Path(sys.argv[1]))
encoders = encoders_of(classifier)
app = FastAPI()


@app.post("/v1/models/model:predict")
def predict(request: dict[str, Any]) -> dict[str, Any]:
    """Classify one listing."""
    (instance,) = request["instances"]
    text, photo = instance.get("text"), base64.b64decode(instance.get("image_bytes", {}).get("b64", ""))
    given: dict[str, Any] = {"text": text, "image": photo or None}
    vectors, present = {}, {}
    for each in encoders:
        item = given[each.modality]
        there = item is not None
        vectors[each.name] = each.encode([each.prepare(item)]) if there else np.zeros((1, each.dim), np.float32)
        present[each.name] = np.array([there])
    features = Features(
        ("",),
        (None,),
        vectors,
        present,
        {each.name: each.modality for each in encoders},
        {each.name: each.fingerprint for each in encoders},
    )
    probabilities = classifier.predict_proba(features, [text])[0]
    return {"category": str(classifier.classes_[probabilities.argmax()]), "probability": float(probabilities.max())}


if __name__ == "__main__":
    for encoder in encoders:
        encoder.load()
    predict({"instances": [{"text": "a"}]})
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
