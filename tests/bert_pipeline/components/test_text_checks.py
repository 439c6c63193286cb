"""Checks of text and labels count what is wrong, show samples and name the setting."""

from __future__ import annotations

import bert_task
import pytest

from bert_pipeline.components import validation_report
from bert_pipeline.components.example_gen import to_example

DATA = bert_task.DataConfig(path="", text=("text",), label="label", labels=("a", "b"), files={"all": "*"})


def check(rows, data=DATA, **must_have):
    return validation_report.check_examples(map(to_example, rows), data=data, **must_have)


def rows(*pairs):
    return [{"text": text, "label": label} for text, label in pairs]


def test_good_rows_have_no_findings():
    assert check(rows((b"x", b"a"), (b"y", b"b"))) == []


def test_empty_and_blank_texts_are_counted_together():
    (finding,) = check(rows((b"", b"a"), (b" \t", b"b"), (b"x", b"a"), (b"y", b"b")))
    assert finding.column == "text"
    assert finding.problem.startswith("empty text in 2 of 4 examples (50.0%), for example ")


def test_text_that_is_not_utf8_is_shown_escaped():
    (finding,) = check(rows((b"caf\xe9", b"a"), (b"y", b"b")))
    assert finding.problem == r"text that is not UTF-8 in 1 of 2 examples (50.0%), for example 'caf\\xe9'"


def test_unknown_label_names_its_values_and_the_setting():
    (finding,) = check(rows((b"x", b"a"), (b"y", b"c"), (b"z", b"c"), (b"w", b"")))
    assert finding.problem == (
        "label that the task does not know in 3 of 4 examples (75.0%), for example 'c', ''"
    )
    assert finding.setting == "data.labels"
    assert "now a, b" in finding.fix


@pytest.mark.parametrize(("tolerance", "num_findings"), [(0.24, 2), (0.26, 0)])
def test_label_share_is_compared_with_the_expected_one(tolerance, num_findings):
    data = bert_task.DataConfig(
        path="",
        text=("text",),
        label="label",
        labels=("a", "b"),
        files={"all": "*"},
        label_shares={"a": 0.5, "b": 0.5},
        label_share_tolerance=tolerance,
    )
    findings = check(rows((b"x", b"a"), (b"y", b"a"), (b"z", b"a"), (b"w", b"b")), data)
    assert len(findings) == num_findings
    if findings:
        assert findings[0].problem == (
            "label 'a' has a share of 75.0% (3 of 4 examples), and 50.0% is expected (tolerance 24.0%)"
        )


def test_column_that_no_example_has_is_left_to_the_schema():
    assert check([{"label": b"a"}, {"label": b"b"}]) == []


def test_long_values_are_shortened():
    (finding,) = check(rows((b"x", b"l" * 100), (b"y", b"a")))
    assert "'" + "l" * 37 + "...'" in finding.problem


def test_label_without_an_example_is_named_where_it_must_have_one():
    (finding,) = check(rows((b"x", b"a"), (b"y", b"a")), must_have={"a", "b"})
    assert finding.problem == ("none of 2 examples has the label 'b', so that nothing could be learned of it")
    assert finding.setting == "data.labels"
    assert check(rows((b"x", b"a"), (b"y", b"a")), must_have={"a"}) == []
    assert check(rows((b"x", b"a"), (b"y", b"b")), must_have={"a", "b"}) == []
