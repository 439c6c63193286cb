"""From a file as people have it to a task file: what is read, chosen, found, refused, and written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_pipeline.errors import UserError
from bert_pipeline.new_task import profile, roles, settings, sources, tables
from bert_pipeline.new_task.tables import Table
from tests.bert_pipeline.new_tasks import TEXTS, Project, reviews, write_csv


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


def test_a_clear_csv_becomes_a_task_where_it_lies(project: Project, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews())
    task = project.new_task(tmp_path / "reviews.csv", label="stars").task
    assert task.data.path == str(tmp_path)
    assert task.data.files == {"all": "reviews.csv"}
    assert (task.data.text, task.data.label, task.data.labels) == (("comment",), "stars", ("bad", "good"))
    assert task.evaluation.slices == ("shop",)
    assert task.data.label_shares == {"bad": 0.5, "good": 0.5}
    assert (task.training.epochs, task.training.batch_size) == (4, 16)
    assert [(gate.metric, gate.min, gate.max_drop) for gate in task.evaluation.gates] == [
        ("macro_f1", 0.55, 0.02)
    ]
    assert (
        "date      day: `.venv/bin/python -m bert_pipeline spans --date day` cuts the table by it"
        in project.said
    )
    assert not project.data.exists()


def test_a_column_called_label_wins_over_a_category(project: Project, tmp_path: Path) -> None:
    rows = [{"label": r["stars"], "category": r["shop"], "text": r["comment"]} for r in reviews()]
    task = project.new_task(write_csv(tmp_path / "reviews.csv", rows)).task
    assert (task.data.label, task.evaluation.slices) == ("label", ("category",))


def test_columns_that_are_not_clear_are_named_and_nothing_is_written(
    project: Project, tmp_path: Path
) -> None:
    write_csv(tmp_path / "reviews.csv", reviews())
    with pytest.raises(
        UserError,
        match=r"not clear which column label is; name one of stars \(2 values.*shop \(3.*with ARGS=\"--label",
    ):
        project.new_task(tmp_path / "reviews.csv")
    with pytest.raises(UserError, match=r"--label: there is no column 'star'; there are review_id, comment"):
        project.new_task(tmp_path / "reviews.csv", label="star")
    assert list(project.tasks.iterdir()) == []


@pytest.mark.parametrize(
    ("delimiter", "name"), [(",", "comma"), ("\t", "tab"), (";", "semicolon"), ("|", "bar")]
)
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str, name: str) -> None:
    table = tables.read_table(write_csv(tmp_path / "a.csv", reviews(), delimiter=delimiter))
    assert table.columns == ("review_id", "comment", "stars", "shop", "day")
    assert table.told == f"UTF-8, {name}, with a header"
    assert table.readable == (delimiter == ",")


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("cp1252", "cp125")]
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, told: str) -> None:
    lines = ["text,label", *(f"größe {i} paßt über den Fuß naïve café,{'ab'[i % 2]}" for i in range(30))]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode(encoding))
    table = tables.read_table(tmp_path / "a.csv")
    assert table.columns == ("text", "label")
    assert table.rows[0] == ("größe 0 paßt über den Fuß naïve café", "a")
    assert table.told.startswith(told)


def test_a_file_without_a_header_is_told_from_one_with(project: Project, tmp_path: Path) -> None:
    rows = [{"label": "ham" if i % 3 else "spam", "text": f"{TEXTS[i % 5]} {i}"} for i in range(30)]
    path = write_csv(tmp_path / "sms.tsv", rows, delimiter="\t", header=False)
    table = tables.read_table(path)
    assert table.told == "UTF-8, tab, without a header"
    assert (table.columns, len(table.rows)) == (("column_1", "column_2"), 30)
    loaded = project.new_task(path)
    assert (loaded.task.data.text, loaded.task.data.label) == (("column_2",), "column_1")
    assert (loaded.data_dir / "all.csv").read_text().startswith("column_1,column_2\nspam,the parcel came")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("only one column\nof text\n", "has one column only"),
        ('text,label\n"open,a\nb,c\n', "not CSV: unexpected end of data"),
        ("text,label\na,b\na,b,c\n", "record 3 has 3 cells, and the first one 2"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_reason(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        tables.read_table(tmp_path / "a.csv")


def test_json_lines_are_converted_and_a_broken_line_is_named(project: Project, tmp_path: Path) -> None:
    rows = [json.dumps({"body": f'{TEXTS[i % 5]}, "{i}"\n', "intent": i % 2}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    loaded = project.new_task(tmp_path / "a.jsonl")
    assert loaded.task.data.labels == ("0", "1")
    assert loaded.task.data.files == {"all": "all.csv"}
    (tmp_path / "b.jsonl").write_text("\n".join([*rows, "{"]))
    with pytest.raises(UserError, match=r"b\.jsonl:31: not JSON"):
        project.new_task(tmp_path / "b.jsonl", name="other")


def test_parquet_is_read_where_it_lies(project: Project, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(reviews()), tmp_path / "a.parquet")
    data = project.new_task(tmp_path / "a.parquet", label="stars").task.data
    assert (data.format, data.files) == ("parquet", {"all": "a.parquet"})


def test_a_folder_gives_its_splits_and_test_stands_in_for_eval(project: Project, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", reviews())
    write_csv(tmp_path / "test.csv", reviews(20))
    assert project.new_task(tmp_path, label="stars").task.data.files == {
        "train": "train.csv",
        "eval": "test.csv",
    }


def test_folders_of_spans_become_a_pattern(project: Project, tmp_path: Path) -> None:
    for span in (1, 2, 10):
        (tmp_path / f"span-{span}").mkdir()
        write_csv(tmp_path / f"span-{span}" / "reviews.csv", reviews())
    assert project.new_task(tmp_path, label="stars").task.data.files == {"all": "span-{SPAN}/reviews.csv"}
    assert "data      3 spans, span-1 to span-10; span-1 was looked at" in project.said
    assert not [line for line in project.said if line.startswith("date ")]  # they are cut already


def test_two_columns_that_belong_together_are_a_pair() -> None:
    texts = [f"{TEXTS[i % 5]} {i}" for i in range(40)]
    for first, second in (
        ("text", "text_b"),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("title", "body"),
    ):
        rows = tuple((text, text[::-1] + " and more", "yn"[i % 2]) for i, text in enumerate(texts))
        found = roles.choose(profile.profile(Table((first, second, "label"), rows, "", True)))
        assert (found.text, found.label) == ((first, second), "label")


def test_what_is_odd_with_the_data_is_said(project: Project, tmp_path: Path) -> None:
    train = [*reviews(), {**reviews()[0], "stars": "good"}, {**reviews()[1], "comment": ""}]
    write_csv(tmp_path / "train.csv", train)
    write_csv(tmp_path / "eval.csv", [{**row, "comment": row["comment"].upper()} for row in reviews(2)])
    loaded = project.new_task(tmp_path, label="stars")
    notes = [line.removeprefix("note      ") for line in project.said if line.startswith("note")]
    assert notes == [
        "train: 1 rows without text or label were left out",
        "train: 1 of 41 texts stand there more than once",
        f"train: 1 texts stand there with different labels; for example '{TEXTS[0]} (0)'",
        f"eval has 2 texts (100.0%) of train: it flatters the model by so many; for example '{TEXTS[1]} (1)'",
    ]
    assert (loaded.data_dir / "train.csv").read_text().count("\n") == 42
    assert TEXTS[0] not in loaded.path.read_text()  # a task file is committed, a text is not


def test_a_training_of_many_tokens_is_announced() -> None:
    found = roles.Roles(("text",), "label", (), "", {})

    def said(num_rows: int, num_words: int) -> str:
        rows = tuple(("shoe " * num_words, ("bad", "good")[i % 2]) for i in range(num_rows))
        table = Table(("text", "label"), rows, "", True)
        return settings.choose_settings({"train": table}, found).long_training

    assert said(5_000, 40) == ""
    # 4 epochs of 5,000 texts of 300 * 1.25 tokens, [CLS] and [SEP]
    assert said(5_000, 300) == (
        "training reads about 7.5 million tokens: some 47 minutes on two CPU cores; a smaller text.max_seq_length than "
        "384 or fewer training.epochs shorten it"
    )


def test_a_rare_label_gets_a_weight_and_different_shares_no_bound() -> None:
    def table(num_spam: int, num_rows: int) -> Table:
        rows = tuple((f"{TEXTS[i % 5]} {i}", "spam" if i < num_spam else "ham") for i in range(num_rows))
        return Table(("text", "label"), rows, "", True)

    found = roles.Roles(("text",), "label", (), "", {})
    picked = settings.choose_settings({"train": table(40, 1000), "eval": table(20, 100)}, found)
    assert picked.class_weights == "balanced"
    assert picked.label_shares == {}
    assert picked.why["label_shares"] == "the share of 'ham' differs by 0.16 in eval: not bounded"


def test_a_task_is_not_replaced_without_force(project: Project, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews())
    first = project.new_task(tmp_path / "reviews.csv", label="stars")
    first.schema_path.write_text("# of the first one\n")
    with pytest.raises(UserError, match='there is a task mine already .* add ARGS="--force"'):
        project.new_task(tmp_path / "reviews.csv", label="shop")
    assert project.new_task(tmp_path / "reviews.csv", label="shop", force=True).task.data.label == "shop"
    assert not first.schema_path.exists()


@pytest.mark.parametrize("name", ["", "my-task", "1st", "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(project: Project, name: str) -> None:
    with pytest.raises(UserError, match="use letters, digits and _"):
        project.new_task("nowhere.csv", name=name)


def test_data_that_is_not_there_points_to_the_hub(project: Project) -> None:
    with pytest.raises(UserError, match="there is no file or folder glue/sst2; .* write DATA=hf:glue/sst2"):
        project.new_task("glue/sst2")


def test_a_folder_in_the_hubs_form_is_streamed_by_datasets(project: Project, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for split, rows in {"train": reviews(), "validation": reviews(20)}.items():
        (tmp_path / "set" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loaded = project.new_task(f"hf:{tmp_path / 'set'}", label="stars")
    assert loaded.task.data.files == {"train": "train.csv", "eval": "eval.csv"}
    assert len(sources.read_source(str(loaded.data_dir), say=print).tables["eval"].rows) == 20


def test_without_network_the_hub_says_what_to_do(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"hub cannot be reached .* give the folder: DATA=folder"):
        project.new_task("hf:glue/sst2")
