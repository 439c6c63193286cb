"""Which spans a run takes, out of what lies in the data folder."""

from __future__ import annotations

import bert_task
import pytest

from bert_pipeline.data import spans
from bert_pipeline.settings import config, sections
from bert_pipeline.settings.errors import UserError


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
        task = sections.TaskConfig(name="t", description="", data=section)
        return config.LoadedTask(task=task, path=tmp_path / "t.toml", data_dir=tmp_path)

    return load


NUMBERED = ("span-1/a.csv", "span-2/a.csv", "span-10/a.csv", "span-10/b.csv", "span-x/a.csv", "span-11/a.txt")


def test_the_newest_is_the_highest_number_and_not_the_last_name(loaded):
    window = spans.resolve_window(loaded(*NUMBERED))
    assert (window.spans, window.newest, window.previous) == ((10,), 10, 2)


def test_a_window_ends_at_the_span_asked_for(loaded):
    window = spans.resolve_window(loaded(*NUMBERED, span=2, window=2))
    assert (window.spans, window.previous) == ((1, 2), 1)


def test_stray_folders_are_said_once_and_left_alone(loaded):
    files = (
        "span-2/train.csv",
        "span-2/eval.csv",
        "span-2-old/train.csv",
        "span-2-old/eval.csv",
        "span-x/train.csv",
    )
    patterns = {"train": "span-{SPAN}/train.csv", "eval": "span-{SPAN}/eval.csv"}
    window = spans.resolve_window(loaded(*files, pattern=patterns))
    assert (window.spans, window.notes) == ((2,), ("span-2-old, span-x are not spans and are left alone",))
    assert spans.resolve_window(loaded("span-2/a.csv", pattern="span-{SPAN}/a.csv")).notes == ()


@pytest.mark.parametrize("file", ["span-0/a.csv", "span-00/a.csv"])
def test_span_0_is_refused_by_name(loaded, file):
    pattern = "span-{SPAN:2}/a.csv" if "00" in file else "span-{SPAN}/a.csv"
    task = loaded(
        file, "span-1/a.csv" if pattern.endswith("{SPAN}/a.csv") else "span-01/a.csv", pattern=pattern
    )
    message = rf"data\.files\.all: {file} is span 0, and data\.span = 0 stands for the newest; number the spans from 1"
    with pytest.raises(UserError, match=message):
        spans.resolve_window(task)


def test_the_first_of_january_1970_is_span_0(loaded):
    with pytest.raises(UserError, match=r"1970-01-01/a\.csv is span 0"):
        spans.resolve_window(loaded("1970-01-01/a.csv", pattern="{YYYY}-{MM}-{DD}/a.csv"))


@pytest.mark.parametrize(
    ("files", "pattern", "message"),
    [
        (
            ("span-01/a.csv", "span-02/a.csv"),
            "span-{SPAN}/a.csv",
            "data.files.all: span-01/a.csv is not found by span-{SPAN}/a.csv, where {SPAN} stands for a number without "
            "leading zeros; write span-{SPAN:2}/a.csv, with as many digits in each name",
        ),
        (
            ("span-1/a.csv", "span-002/a.csv"),
            "span-{SPAN}/a.csv",
            "data.files.all: span-002/a.csv is not found by span-{SPAN}/a.csv, where {SPAN} stands for a number "
            "without leading zeros; write span-{SPAN:3}/a.csv, with as many digits in each name",
        ),
        (
            ("s99/a.csv", "s100/a.csv"),
            "s{SPAN:2}/a.csv",
            "data.files.all: s100/a.csv is not found by s{SPAN:2}/a.csv, where {SPAN:2} stands for exactly 2 digits; "
            "rename it, or all of them to one number of digits, and write that into the pattern",
        ),
    ],
)
def test_a_number_that_tfx_would_not_find_is_refused_with_the_pattern_to_write(
    loaded, files, pattern, message
):
    with pytest.raises(UserError) as error:
        spans.resolve_window(loaded(*files, pattern=pattern))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ("span-2", "span-10", "span-1", "span-x", "span-1-old"),
            (["span-1", "span-2", "span-10"], "span-{SPAN}"),
        ),
        (("span-02", "span-01", "span-notes"), (["span-01", "span-02"], "span-{SPAN:2}")),
        (("span-09", "span-10"), (["span-09", "span-10"], "span-{SPAN:2}")),
        (("notes",), ([], "span-{SPAN}")),
    ],
)
def test_folders_of_spans_with_the_pattern_that_finds_them(tmp_path, names, found):
    for name in names:
        (tmp_path / name).mkdir()
    folders, pattern = spans.span_folders(tmp_path)
    assert ([folder.name for folder in folders], pattern) == found


@pytest.mark.parametrize(
    ("names", "message"),
    [(("span-0", "span-1"), "span-0 is span 0"), (("span-01", "span-2"), "span-2 is not found by")],
)
def test_folders_that_no_pattern_finds_are_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=message):
        spans.span_folders(tmp_path)


def test_a_hole_in_the_window_is_noted_and_passed_over(loaded):
    window = spans.resolve_window(loaded(*NUMBERED, window=2))
    assert window.spans == (2, 10)
    assert window.notes == (
        "no span 3, 4, 5, 6, 7, 8, 9 between 2 and 10; trained without",
        "span-x is not a span and is left alone",
    )


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
    files = ("s007/v1.csv", "s007/v2.csv", "s006/v01.csv")
    assert spans.resolve_window(loaded(*files, pattern="s{SPAN:3}/v{VERSION}.csv")).spans == (7,)


def test_data_without_spans_has_no_window(loaded):
    assert spans.resolve_window(loaded("a.csv", pattern="a.csv")) == spans.SpanWindow()
    with pytest.raises(UserError, match=r"data\.window is 2, but data\.files holds neither \{SPAN\}"):
        spans.resolve_window(loaded("a.csv", pattern="a.csv", window=2))


@pytest.mark.parametrize(("typed", "number"), [("2", 2), ("10", 10), ("2025-07-01", 20270)])
def test_a_span_is_typed_as_a_number_or_a_date(typed, number):
    assert spans.parse_span(typed) == number


@pytest.mark.parametrize("typed", ["two", "-1", "2025-7-1", "2025-02-30"])
def test_what_is_neither_is_refused(typed):
    with pytest.raises(UserError, match="give a number"):
        spans.parse_span(typed)


@pytest.mark.parametrize("typed", ["0", "00", "1970-01-01"])
def test_span_0_is_not_the_newest_where_it_is_typed(typed):
    with pytest.raises(
        UserError, match=f"'{typed}' is not a span: they are numbered from 1; leave it out for the newest"
    ):
        spans.parse_span(typed)
