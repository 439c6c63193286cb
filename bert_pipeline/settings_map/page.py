"""The page MAP.md: components and settings as tables, and where a section is explained."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_node import BaseNode

from bert_pipeline.settings.config import PROJECT_ROOT
from bert_pipeline.settings_map import reruns
from bert_pipeline.settings_map.settings import Setting, all_settings

_HEAD = """\
# Map

Every component of the graph with its files, and every setting of a task file. Made by
`python -m bert_pipeline settings`, out of the graph and of the docstrings in `modules/bert_task.py`
and `settings/sections.py`; a test holds this page to what the command prints. To change it, change those.
`python -m bert_pipeline settings warm` prints the settings with that in their key.

## Components

In the order of the graph, as `make pipeline` runs them. *Is given* names the settings that are part of the
component's cache key: a change of one of them reruns it and what follows. Code counts too: a change in `modules/`
reruns Transform and Trainer.
"""

_SETTINGS = """
## Settings

*Reruns* names the components that are given a setting; what depends on them reruns too, and the rest comes from the
cache. A dash: no component is given it, and a change reruns nothing.
`ARGS="--set training.epochs=2"` sets one for one run of `make pipeline`. `[]` marks a list of tables:
`[[evaluation.gates]]`.
"""

# What a section is for is explained there.
EXPLAINED = {
    "": "../README.md#your-own-task-in-four-steps",
    "data": "../data/README.md#format",
    "validation": "data/README.md#drift",
    "text": "../modules/README.md",
    "encoder": "COMING_FROM_TRANSFORMERS.md#checkpoints",
    "training": "COMING_FROM_TRANSFORMERS.md#trainingarguments",
    "export": "../modules/README.md#form-of-the-export",
    "evaluation": "judging/README.md#gates",
    "report": "report/README.md#the-report",
    "serving": "../serving/tf_serving/README.md#versions",
    "bulk_inference": "running/README.md#labelling-texts-in-bulk",
    "monitoring": "monitoring/README.md#live-traffic",
    "notices": "running/README.md#notices",
}

_STOCK = "https://www.tensorflow.org/tfx/guide/"
_STOCK_KINDS = ("Transform", "Trainer")

# A change of these is another task, or nothing to a component.
_REMARKS = {"name": "everything: another output folder", "data.path": "ExampleGen, where the files differ"}


def as_markdown() -> str:
    """The whole page."""
    settings = all_settings()
    given = {setting.key: reruns.rerun_by(setting) for setting in settings}
    lines = [_HEAD, *_component_table(settings, given), *_other_verbs(), _SETTINGS]
    for section in dict.fromkeys(setting.section for setting in settings):
        title = f"[{section}]" if section else "Without a section"
        lines.append(f"\n### {title}\n")
        if section in EXPLAINED:
            lines.append(f"Explained in [{EXPLAINED[section]}]({EXPLAINED[section]}).\n")
        lines += _setting_table([s for s in settings if s.section == section], given)
    return "\n".join(lines) + "\n"


def _component_table(settings: Sequence[Setting], given: dict[str, list[str]]) -> list[str]:
    data = dataclasses.replace(reruns.TASK.data, window=2)
    training = dataclasses.replace(reruns.TASK.training, warm_start="latest_blessed")
    nodes = reruns.components_of(dataclasses.replace(reruns.TASK, data=data, training=training))
    rows = []
    for node in nodes:
        keys = [s.key for s in settings if node.id in given[s.key] and s.key != "name"]
        rows.append(
            [
                f"**{node.id}**",
                type(node).__name__,
                _links(_files(node)),
                _job(node),
                _in_short(keys) or "nothing",
            ]
        )
    return _table(["component", "class", "file", "what the file is", "is given"], rows)


def _other_verbs() -> list[str]:
    lines = ["\nGraphs of other verbs, made of the same parts:\n"]
    rows = [
        [f"`make {verb}`", node.id, type(node).__name__, _links(_files(node)) or "TFX's"]
        for verb, nodes in reruns.other_graphs(reruns.TASK).items()
        for node in nodes
    ]
    return lines + _table(["verb", "component", "class", "file"], rows)


def _setting_table(settings: Sequence[Setting], given: dict[str, list[str]]) -> list[str]:
    rows = []
    for setting in settings:
        default = "required" if setting.default == "required" else f"default {_code(setting.default)}"
        rows.append(
            [
                f"`{setting.key}`",
                f"{setting.type}, {default}",
                setting.meaning,
                _REMARKS.get(setting.key) or ", ".join(given[setting.key]) or "-",
            ]
        )
    return _table(["key", "type", "meaning", "reruns"], rows)


def _job(node: BaseNode) -> str:
    """The first line of the docstring of the file that implements a component."""
    files = _files(node)
    own = [file for file in files if file.startswith("bert_pipeline/")] or files
    text = (PROJECT_ROOT / own[0]).read_text(encoding="utf-8") if own else ""
    line = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].rstrip(".")
    kind = type(node).__name__
    return f"{line}; the component is [TFX's]({_STOCK}{kind.lower()})" if kind in _STOCK_KINDS else line


def _files(node: BaseNode) -> list[str]:
    """The project's files of the class, its executor, its strategy and its user module; none: all of it is TFX's."""
    classes: list[Any] = [type(node), getattr(getattr(node, "executor_spec", None), "executor_class", None)]
    classes += [value for value in node.exec_properties.values() if inspect.isclass(value)]
    # Behind the class that TFX makes of a function component is that function.
    parts = [inspect.unwrap(getattr(each, "_FUNCTION", each)) for each in classes if each is not None]
    paths = [*map(inspect.getsourcefile, parts), node.exec_properties.get("module_file")]
    own = [Path(path).resolve() for path in paths if path]
    own = [path for path in own if path.is_relative_to(PROJECT_ROOT) and ".venv" not in path.parts]
    return list(dict.fromkeys(str(path.relative_to(PROJECT_ROOT)) for path in own))


def _in_short(keys: Sequence[str]) -> str:
    """Keys by section: `data`: text, label; `training`: epochs, ..."""
    sections: dict[str, list[str]] = {}
    for key in keys:
        section, _, name = key.partition(".")
        if "[]" not in name:
            sections.setdefault(section, []).append(name)
    return "; ".join(f"`[{section}]` {', '.join(names)}" for section, names in sections.items())


def _links(files: Iterable[str]) -> str:
    return ", ".join(f"[{_short(file)}]({_relative(file)})" for file in files)


def _short(file: str) -> str:
    return file.removeprefix("bert_pipeline/")


def _relative(file: str) -> str:
    """Seen from the folder of the page."""
    return file.removeprefix("bert_pipeline/") if file.startswith("bert_pipeline/") else f"../{file}"


def _code(text: str) -> str:
    return text if text == "not set" else f"`{text}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [
        f"| {' | '.join(header)} |",
        "|" + "---|" * len(header),
        *(f"| {' | '.join(row)} |" for row in escaped),
    ]
