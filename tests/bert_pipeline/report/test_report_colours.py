"""Text and plots of a report can be told from the paper, in light and in dark."""

from __future__ import annotations

import re

from bert_pipeline.report import page, plots


def luminance(color: str) -> float:
    """WCAG 2.2's relative luminance of #rrggbb."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_of_text_and_plots_can_be_told_from_the_paper_in_light_and_dark():
    css = page.environment().get_template("report.css").render()
    roots = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    light, dark, *_ = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", root)) for root in roots]
    assert contrast("#000000", "#ffffff") == 21
    for colors in (light, dark):
        texts = ("ink", "soft", "link", "good", "bad", "other")
        assert min(contrast(colors[name], colors["paper"]) for name in texts) >= 4.5
        assert min(contrast(colors[name], colors["shade"]) for name in ("ink", "soft", "link")) >= 4.5
        assert contrast(colors["line"], colors["paper"]) >= 3
    # Plots keep white paper in the dark.
    assert ".plot { display: block; width: 40rem; max-width: 100%; background: #fff; }" in css
    assert min(contrast(color, "#ffffff") for color in plots.SERIES) >= 3
