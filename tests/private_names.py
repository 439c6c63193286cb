"""What the project uses of its libraries beyond their public API, read from the sources.

    python -m tests.private_names > bert_pipeline/PRIVATE_API.md

Public are `tfx.v1`, `tensorflow` without `.python`, and what a package exports at its top. All else may move with any
release: `test_private_names.py` looks each name up, so that the one that moved is named.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("bert_pipeline", "modules", "serving")
PRIVATE_MODULES = (
    "tfx.components",
    "tfx.dsl",
    "tfx.orchestration",
    "tfx.proto",
    "tfx.types",
    "tfx.utils",
    "tfx_bsl.coders",
    "tensorflow.python",
    "tensorflow_text.core",
    "tensorflow_data_validation.statistics",
    "tensorflow_model_analysis.proto",
)
HEADER = """\
# Private API that is used

Written by `python -m tests.private_names > bert_pipeline/PRIVATE_API.md` from the sources;
`tests/test_private_names.py` looks up each name and fails with the one that moved. Both stacks have them all: TFX
1.16.0 with TensorFlow 2.16.2, and TFX 1.21.0 with TensorFlow 2.21.0.

| module | names |
|---|---|
"""


class Name(NamedTuple):
    """A name that is not public: `attribute` of `module`, or of a class in it ("Executor._Do")."""

    module: str
    attribute: str


def all_names() -> list[Name]:
    """Every private name that the sources use, in order."""
    return sorted(
        {name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") for name in _names(path)}
    )


def _names(path: Path) -> Iterator[Name]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases: dict[str, str] = {}  # of modules: the name in this file, and the module's own
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if node.module.startswith(PRIVATE_MODULES) or alias.name.startswith("_"):
                    yield Name(node.module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if isinstance(node.value, ast.Name) and aliases.get(node.value.id, "").startswith(
                PRIVATE_MODULES
            ):
                yield Name(aliases[node.value.id], node.attr)
        elif isinstance(node, ast.ClassDef):
            yield from _inherited(node, aliases)


def _inherited(node: ast.ClassDef, aliases: dict[str, str]) -> Iterator[Name]:
    """What a class calls of, or overrides in, a base class of a library: the private names, and those in capitals."""
    own = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    used = {
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute) and item.attr.startswith("_") and not item.attr.startswith("__")
    }
    for base in map(ast.unparse, node.bases):
        first, _, name = base.partition(".")
        module = aliases.get(first, "")
        if not module.startswith(PRIVATE_MODULES):
            continue
        if not name:
            module, _, name = module.rpartition(".")
        base_class = getattr(importlib.import_module(module), name)
        for attribute in sorted(own | used):
            if not attribute.startswith("__") and hasattr(base_class, attribute):
                yield Name(module, f"{name}.{attribute}")


def as_markdown() -> str:
    """The page: a row for each module."""
    rows: dict[str, list[str]] = {}
    for name in all_names():
        rows.setdefault(name.module, []).append(f"`{name.attribute}`")
    lines = [f"| `{module}` | {', '.join(names)} |" for module, names in rows.items()]
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
