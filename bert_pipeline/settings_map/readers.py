"""Which files read a setting: found by reading the sources, as `training.epochs` in them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from bert_pipeline.settings.config import PROJECT_ROOT
from bert_pipeline.settings_map.settings import Setting

_FOLDERS = ("bert_pipeline", "modules")
# They declare, load and check settings, or print this map, which is not reading them.
_NO_READERS = (
    "bert_task.py",
    "bert_gates.py",
    "bert_monitoring.py",
    "config.py",
    "checks.py",
)


def readers_of(setting: Setting) -> list[str]:
    """Files that read a setting, relative to the project.

    A file does where it has the key's last part as an attribute of something that is called as the section
    (`training.epochs`), or, as `config.epochs` or `self._config.epochs`, where it names the section's class.

    Args:
        setting: of `all_settings`.
    """
    names = _names_of(setting.owner.__name__)
    found = []
    for path, (owners, source) in _reads().items():
        held = owners.get(setting.field, frozenset())
        if held & names or ("config" in held and setting.owner.__name__ in source):
            found.append(path)
    return found


def _names_of(cls: str) -> frozenset[str]:
    """Names under which code holds a section: WeakLabelConfig is `weak_label` or `rule`."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.removesuffix("Config")).lower()
    return frozenset({name, f"{name}_config", *(["rule"] if name == "weak_label" else [])})


@functools.cache
def _reads() -> dict[str, tuple[dict[str, frozenset[str]], str]]:
    """For each source: attribute -> names of what it is read from; and the text."""
    found = {}
    for path in _sources():
        source = path.read_text(encoding="utf-8")
        owners: dict[str, set[str]] = {}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                value = node.value
                name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
                owners.setdefault(node.attr, set()).add(name.lstrip("_"))
        found[str(path.relative_to(PROJECT_ROOT))] = (
            {attribute: frozenset(names) for attribute, names in owners.items()},
            source,
        )
    return found


def _sources() -> Iterator[Path]:
    here = Path(__file__).resolve().parent
    for folder in _FOLDERS:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            if path.name not in _NO_READERS and path.parent != here:
                yield path
