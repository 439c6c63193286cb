"""The page at `/`: a person types a text and sees the labels as bars, and which model said so."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2

from serving.model_server.errors import ServingError
from serving.model_server.models.manager import Manager
from serving.model_server.models.servable import Servable
from serving.model_server.models.tensors import DEFAULT_SIGNATURE

# May lie in a version's folder: an object of strings, shown as it is.
PROVENANCE_FILE = os.path.join("assets.extra", "provenance.json")

_FOLDER = Path(__file__).resolve().parent / "demo"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
}
# The outputs that the page shows.
_OUTPUTS = {"label", "labels", "probabilities"}

Answer = tuple[int, str, bytes]


def demo_pages(manager: Manager) -> dict[str, Callable[[], Answer]]:
    """The page and its parts by path; `/demo/models.json` lists what is served now."""
    pages: dict[str, Callable[[], Answer]] = {
        path: _fixed((_FOLDER / name).read_bytes(), content_type=content_type)
        for path, (name, content_type) in _FILES.items()
    }
    pages["/demo/models.json"] = lambda: (200, "application/json", json.dumps(_models(manager)).encode())
    return pages


def _fixed(body: bytes, *, content_type: str) -> Callable[[], Answer]:
    return lambda: (200, content_type, body)


def _models(manager: Manager) -> list[dict[str, Any]]:
    return [_model(manager, settings.name) for settings in manager.settings]


def _model(manager: Manager, name: str) -> dict[str, Any]:
    try:
        with manager.use(model_pb2.ModelSpec(name=name)) as servable:
            return {"name": name, **_columns(servable), "facts": _facts(servable)}
    except ServingError as error:
        return {"name": name, "columns": [], "problem": error.message, "facts": {"model": name}}


def _columns(servable: Servable) -> dict[str, Any]:
    """The text columns that the page asks for; none, and why, where it cannot show the model's answers."""
    signature = servable.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        return {"columns": [], "problem": f"The model has no signature {DEFAULT_SIGNATURE}."}
    if any(info.dtype != types_pb2.DT_STRING for info in signature.inputs.values()):
        return {"columns": [], "problem": "The model takes more than texts; this page knows texts only."}
    if not set(signature.outputs) >= _OUTPUTS:
        return {"columns": [], "problem": f"The model does not answer with {', '.join(sorted(_OUTPUTS))}."}
    return {"columns": sorted(signature.inputs), "problem": ""}


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _facts(servable: Servable) -> dict[str, str]:
    """What is known of a version, in words."""
    facts = {
        "model": servable.name,
        "version": str(servable.version),
        "loaded": _utc(servable.loaded_at),
        "written": _utc(os.path.getmtime(servable.path)),
        "folder": servable.path,
    }
    try:
        provenance = json.loads(Path(servable.path, PROVENANCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return facts
    if isinstance(provenance, dict):
        facts |= {str(key): str(value) for key, value in provenance.items()}
    return facts
