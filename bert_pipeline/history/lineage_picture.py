"""The lineage of a model as a picture, in the languages of Mermaid and of Graphviz."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from bert_pipeline.history.lineage import BASE_MODEL
from bert_pipeline.history.names import name_of_span
from bert_pipeline.metadata.run_history import Artifact, Execution, History
from bert_pipeline.serving_folder.served import ServedVersion

# A baseline and a base model are shown, their own past is not.
_STOP = frozenset({BASE_MODEL, "baseline_model"})


@dataclasses.dataclass(frozen=True)
class Picture:
    """Boxes and arrows."""

    boxes: dict[str, tuple[str, ...]]
    """Lines of text by the name of the box."""
    marked: str
    """The box of the model itself."""
    arrows: tuple[tuple[str, str, str], ...]
    """From, to, and the component between them; in an order that does not change."""


def picture(history: History, *, model_id: int, served: dict[int, ServedVersion]) -> Picture:
    """Everything that led to a model, and what was made of it.

    Args:
        history: of the task.
        model_id: the model.
        served: version by the id of its PushedModel; those whose folder is there.
    """
    shown = history.ancestors(model_id, stop=_STOP)
    arrows: dict[tuple[str, str, str], None] = {}
    past = [history.producer(artifact_id) for artifact_id in sorted(shown)]
    # Only what the walk reached: the producer of a baseline or a base model is not drawn.
    steps = [e for e in past if e and all(i in shown for i in _ids(e))]
    steps += [
        e
        for e in history.consumers(model_id)
        if e.state == "COMPLETE" and model_id in e.inputs.get("model", ())
    ]
    for execution in steps:
        for source in _ids(execution):
            for target in sorted(i for ids in execution.outputs.values() for i in ids):
                if target in shown or model_id in execution.inputs.get("model", ()):
                    arrows[_name(source), _name(target), execution.node] = None
                    shown |= {source, target}
    boxes = {_name(i): tuple(_text(history, history.artifacts[i], served.get(i))) for i in sorted(shown)}
    return Picture(boxes, _name(model_id), tuple(arrows))


def served_pushes(history: History, versions: Iterable[ServedVersion]) -> dict[int, ServedVersion]:
    """What `picture` is told of the served folder: version by the id of its PushedModel."""
    by_name = {version.folder.name: version for version in versions}
    pushes = {a.id: str(a.properties.get("pushed_version")) for a in history.of_type("PushedModel")}
    return {push: by_name[name] for push, name in pushes.items() if name in by_name}


def _ids(execution: Execution) -> list[int]:
    return sorted(i for ids in execution.inputs.values() for i in ids)


def _name(artifact_id: int) -> str:
    return f"a{artifact_id}"


def _text(history: History, artifact: Artifact, version: ServedVersion | None) -> Iterator[str]:
    yield f"{artifact.type} {artifact.id}"
    if artifact.type == "Examples" and (span := int(artifact.properties.get("span") or 0)):
        yield f"span {name_of_span(history, span)}"
    if artifact.type in ("ModelBlessing", "InfraBlessing"):
        yield "blessed" if artifact.properties.get("blessed") == 1 else "not blessed"
    if artifact.type == "PushedModel":
        pushed = artifact.properties.get("pushed") == 1
        yield f"version {artifact.properties.get('pushed_version')}" if pushed else "not pushed"
        if pushed and version is None:
            yield "removed"
    if artifact.state != "LIVE":
        yield artifact.state.lower()


def as_mermaid(drawn: Picture) -> str:
    """A flowchart that GitHub and most editors show (https://mermaid.js.org/syntax/flowchart.html)."""
    lines = ["flowchart LR"]
    for name, text in drawn.boxes.items():
        quoted = "<br>".join(
            line.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;") for line in text
        )
        lines.append(f'  {name}["{quoted}"]')
    lines += [f'  {source} -- "{node}" --> {target}' for source, target, node in drawn.arrows]
    lines.append(f"  style {drawn.marked} stroke-width:3px")
    return "\n".join(lines)


def as_dot(drawn: Picture) -> str:
    """A digraph for `dot -Tsvg` (https://graphviz.org/doc/info/lang.html)."""
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
    for name, text in drawn.boxes.items():
        quoted = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in text)
        bold = " style=bold" if name == drawn.marked else ""
        lines.append(f'  {name} [label="{quoted}"{bold}];')
    lines += [f'  {source} -> {target} [label="{node}"];' for source, target, node in drawn.arrows]
    return "\n".join([*lines, "}"])
