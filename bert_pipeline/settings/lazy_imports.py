"""Modules that a library imports at its start and that nothing here uses: they are loaded when something does."""

from __future__ import annotations

import functools
import importlib.util
import sys
from importlib.abc import Loader
from pathlib import Path
from types import ModuleType

# tfx.v1 imports them for Vertex AI: google-cloud-aiplatform takes a third of the time that tfx.v1 takes.
DEFERRED = ("tfx.v1.extensions",)


def defer() -> None:
    """Makes the import of each package in DEFERRED cost nothing until one of its attributes is read.

    The packages are found by path, since looking for them by name would import what they lie in. (The standard
    library's `LazyLoader` loads as soon as a second import reads the module's `__spec__`.)
    """
    for name in DEFERRED:
        top, *rest = name.split(".")
        found = importlib.util.find_spec(top)
        if found is None or found.origin is None or name in sys.modules:
            continue
        folder = Path(found.origin).parent.joinpath(*rest)
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None, folder
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        vars(module)["__getattr__"] = functools.partial(_load, module, spec.loader)


def _load(module: ModuleType, loader: Loader, attribute: str) -> object:
    """Called for the first attribute that is asked for (PEP 562)."""
    del vars(module)["__getattr__"]
    loader.exec_module(module)
    return getattr(module, attribute)
