"""Which spans a run takes, out of what lies in the data folder."""

from __future__ import annotations

import bert_task
import pytest

from bert_pipeline import config, spans
from bert_pipeline.errors import UserError


@pytest.fixture
def loaded(tmp_path):
    def load(*files: str, pattern="span-{SPAN}/*.csv", **data) -> config.LoadedTask:
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        patterns = pattern if isinstance(pattern, dict) else {"all": pattern}
        section = bert_task.DataConfig(
            path="", text=("text",), label="label", labels=("a", "b"), files=patterns, **data
        )
        task = bert_task.TaskConfig(name="t", description="", data=section)
        return config.LoadedTask(task=task, path=tmp_path / "t.toml", data_dir=tmp_path)

    return load


NUMBERED = ("span-1/a.csv", "span-2/a.csv", "span-10/a.csv", "span-10/b.csv", "span-x/a.csv", "span-11/a.txt")


def test_the_newest_is_the_highest_number_and_not_the_last_name(loaded):
    window = spans.resolve_window(loaded(*NUMBERED))
    assert (window.spans, window.newest, window.previous) == ((10,), 10, 2)


def test_a_window_ends_at_the_span_asked_for(loaded):
    window = spans.resolve_window(loaded(*NUMBERED, span=2, window=2))
    assert (window.spans, window.previous, window.notes) == ((1, 2), 1, ())


def test_a_hole_in_the_window_is_noted_and_passed_over(loaded):
    window = spans.resolve_window(loaded(*NUMBERED, window=2))
    assert window.spans == (2, 10)
    assert window.notes == ("no span 3, 4, 5, 6, 7, 8, 9 between 2 and 10; trained without",)


def test_a_window_wider_than_the_data_takes_what_there_is(loaded):
    assert spans.resolve_window(loaded(*NUMBERED, span=2, window=4)).spans == (1, 2)


def test_a_span_that_does_not_exist_is_named_with_those_that_do(loaded):
    with pytest.raises(UserError, match=r"data\.span: there is no span 7 in .*; there are 1, 2, 10"):
        spans.resolve_window(loaded(*NUMBERED, span=7))


def test_a_split_that_lacks_the_span_is_named(loaded):
    files = ("1/train.csv", "1/eval.csv", "2/train.csv")
    patterns = {"train": "{SPAN}/train.csv", "eval": "{SPAN}/eval.csv"}
    with pytest.raises(UserError, match=r"data\.files\.eval: span 2 has no file of this split .* there is 1"):
        spans.resolve_window(loaded(*files, pattern=patterns))


def test_dates_are_spans_and_what_is_no_date_is_none(loaded):
    files = ("2025-06-30/a.csv", "2025-07-01/a.csv", "2025-13-01/a.csv", "notes/a.csv")
    window = spans.resolve_window(loaded(*files, pattern="{YYYY}-{MM}-{DD}/a.csv", window=2))
    assert window.spans == (20269, 20270)
    assert [window.name(span) for span in window.spans] == ["2025-06-30", "2025-07-01"]


def test_versions_and_leading_zeros_are_part_of_a_pattern(loaded):
    files = ("s007/v1.csv", "s007/v2.csv", "s08/v1.csv")
    assert spans.resolve_window(loaded(*files, pattern="s{SPAN:3}/v{VERSION}.csv")).spans == (7,)


def test_data_without_spans_has_no_window(loaded):
    assert spans.resolve_window(loaded("a.csv", pattern="a.csv")) == spans.SpanWindow()
    with pytest.raises(UserError, match=r"data\.window is 2, but data\.files holds neither \{SPAN\}"):
        spans.resolve_window(loaded("a.csv", pattern="a.csv", window=2))


@pytest.mark.parametrize(("typed", "number"), [("2", 2), ("0", 0), ("2025-07-01", 20270)])
def test_a_span_is_typed_as_a_number_or_a_date(typed, number):
    assert spans.parse_span(typed) == number


@pytest.mark.parametrize("typed", ["two", "-1", "2025-7-1", "2025-02-30"])
def test_what_is_neither_is_refused(typed):
    with pytest.raises(UserError, match="give a number"):
        spans.parse_span(typed)
