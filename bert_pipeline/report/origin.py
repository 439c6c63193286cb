"""Where the model comes from and what was made of it: boxes and arrows, and the same in words."""

from __future__ import annotations

from html import escape

from bert_pipeline.history.lineage import Picture, picture
from bert_pipeline.report import plots
from bert_pipeline.report.blocks import Figure, Section, Table, Text
from bert_pipeline.report.source import Source
from bert_pipeline.serving_folder.served import served_versions

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y = 128.0, 46.0, 14.0, 34.0
_MARGIN = 4.0
_LINE = 12.0
_MAX_LETTERS = 21

Place = tuple[float, float]


def section(source: Source) -> Section:
    """The lineage of the run's model; of a run without one, a sentence."""
    model = source.artifact("Trainer", "model")
    if model is None:
        return Section("lineage", "Lineage", (Text("The run made no model."),))
    by_version = {v.folder.name: v for v in served_versions(source.paths.push_destination)}
    served = {
        push.id: by_version[str(push.properties["pushed_version"])]
        for push in source.history.of_type("PushedModel")
        if str(push.properties.get("pushed_version")) in by_version
    }
    drawn = picture(source.history, model_id=model.id, served=served)
    words = {name: ", ".join(lines) for name, lines in drawn.boxes.items()}
    rows = tuple((words[a], node, words[b]) for a, b, node in drawn.arrows)
    table = Table("Lineage in words", ("from", "component", "to"), rows, words=True)
    finding = f"Model {model.id} and the {len(drawn.boxes) - 1} artifacts that led to it or were made of it."
    return Section("lineage", "Lineage", (Figure("lineage", as_svg(drawn), finding, table),))


def layers(drawn: Picture) -> list[list[str]]:
    """Names of the boxes by layer: each stands below everything that leads to it.

    Example:
        Of the arrows a1 -> a2, a1 -> a3 and a2 -> a3: [["a1"], ["a2"], ["a3"]].
    """
    depth = dict.fromkeys(drawn.boxes, 0)
    for _ in drawn.boxes:  # as many rounds as the longest way can have
        for source, target, _node in drawn.arrows:
            depth[target] = max(depth[target], depth[source] + 1)
    # A box that nothing leads to stands right above the first that it leads to.
    for name in drawn.boxes:
        targets = [depth[target] for source, target, _node in drawn.arrows if source == name]
        if targets and name not in {target for _, target, _node in drawn.arrows}:
            depth[name] = min(targets) - 1
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name in drawn.boxes:
        found[depth[name]].append(name)
    return _untangled([layer for layer in found if layer], drawn)


def _untangled(found: list[list[str]], drawn: Picture) -> list[list[str]]:
    """Orders each layer by the mean place of what leads to its boxes (Sugiyama et al. 1981, barycenters)."""
    place: dict[str, float] = {}
    for layer in found:
        layer.sort(key=lambda name: _mean([place[a] for a, b, _ in drawn.arrows if b == name and a in place]))
        place.update({name: (i + 0.5) / len(layer) for i, name in enumerate(layer)})
    return found


def _mean(places: list[float]) -> float:
    return sum(places) / len(places) if places else 0.5


def as_svg(drawn: Picture) -> str:
    """An element for a page, in the page's colours."""
    rows = layers(drawn)
    width = max(len(row) for row in rows) * (_BOX_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    height = len(rows) * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    places = {name: place for i, row in enumerate(rows) for name, place in _row_places(row, i, width)}
    arrows = [_arrow(places[a], places[b]) for a, b in dict.fromkeys((a, b) for a, b, _ in drawn.arrows)]
    makers = {target: node for _, target, node in drawn.arrows}
    boxes = [
        _box(places[name], lines, is_marked=name == drawn.marked, maker=makers.get(name, ""))
        for name, lines in drawn.boxes.items()
    ]
    marker = (
        '<defs><marker id="lineage-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill: currentColor"/></marker></defs>'
    )
    return f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true">{marker}{"".join(arrows)}{"".join(boxes)}</svg>'


def _row_places(row: list[str], i: int, width: float) -> list[tuple[str, Place]]:
    taken = len(row) * (_BOX_WIDTH + _GAP_X) - _GAP_X
    left, top = (width - taken) / 2, _MARGIN + i * (_BOX_HEIGHT + _GAP_Y)
    return [(name, (left + j * (_BOX_WIDTH + _GAP_X), top)) for j, name in enumerate(row)]


def _arrow(start: Place, end: Place) -> str:
    x1, y1 = start[0] + _BOX_WIDTH / 2, start[1] + _BOX_HEIGHT
    x2, y2 = end[0] + _BOX_WIDTH / 2, end[1]
    bend = (y2 - y1) / 2
    path = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2 - 1:g}"
    return f'<path d="{path}" style="fill: none; stroke: var(--line)" marker-end="url(#lineage-head)"/>'


def _box(place: Place, lines: tuple[str, ...], *, is_marked: bool, maker: str) -> str:
    x, y = place
    words = [
        plots.short(line, letters=_MAX_LETTERS) for line in (*lines[:2], *([f"by {maker}"] if maker else []))
    ]
    first = y + _BOX_HEIGHT / 2 - _LINE * (len(words) - 1) / 2 + 4
    text = "".join(
        f'<text x="{x + _BOX_WIDTH / 2:g}" y="{first + i * _LINE:g}" style="text-anchor: middle; font-size: 10.5px; '
        f'fill: currentColor{"; font-weight: 700" if is_marked and i == 0 else ""}">{escape(line)}</text>'
        for i, line in enumerate(words)
    )
    rect = (
        f'<rect x="{x:g}" y="{y:g}" width="{_BOX_WIDTH:g}" height="{_BOX_HEIGHT:g}" rx="4" '
        f'style="fill: var(--paper); stroke: currentColor; stroke-width: {2.5 if is_marked else 0.8}"/>'
    )
    return rect + text
