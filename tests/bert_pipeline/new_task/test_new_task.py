"""From a file as people have it to a task file: what is read, chosen, found, refused, and written."""

from __future__ import annotations

import collections
import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_pipeline.new_task import new_task, roles, sources, tables, task_file
from bert_pipeline.new_task.tables import Table
from bert_pipeline.settings.errors import UserError
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
        found = roles.choose(roles.profile(Table((first, second, "label"), rows, "", True)))
        assert (found.text, found.label) == ((first, second), "label")


def test_what_is_odd_with_the_data_is_said(project: Project, tmp_path: Path) -> None:
    train = [*reviews(), {**reviews()[0], "stars": "good"}, {**reviews()[1], "comment": ""}]
    write_csv(tmp_path / "train.csv", train)
    write_csv(tmp_path / "eval.csv", [{**row, "comment": row["comment"].upper()} for row in reviews(2)])
    loaded = project.new_task(tmp_path, label="stars")
    notes = [line.removeprefix("note      ") for line in project.said if line.startswith("note")]
    assert notes == [
        "train: 1 rows without text or label were left out",
        "train: 1 of 41 texts occur more than once",
        f"train: 1 texts occur with different labels; for example '{TEXTS[0]} (0)'",
        f"eval has 2 texts (100.0%) of train: it flatters the model by so many; for example '{TEXTS[1]} (1)'",
    ]
    assert (loaded.data_dir / "train.csv").read_text().count("\n") == 42
    assert TEXTS[0] not in loaded.path.read_text()  # a task file is committed, a text is not


def test_a_training_of_many_tokens_is_announced() -> None:
    found = roles.Roles(("text",), "label", (), "", {})

    def said(num_rows: int, num_words: int) -> str:
        rows = tuple(("shoe " * num_words, ("bad", "good")[i % 2]) for i in range(num_rows))
        table = Table(("text", "label"), rows, "", True)
        return task_file.choose_settings({"train": table}, found).long_training

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
    picked = task_file.choose_settings({"train": table(40, 1000), "eval": table(20, 100)}, found)
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


def test_a_folder_in_the_hubs_form_is_read_split_by_split(project: Project, tmp_path: Path) -> None:
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


def hub_folder(folder: Path, suffix: str, rows: dict[str, list[dict[str, str]]]) -> str:
    """A data set in the hub's form, whose cells are what a reader with types changes."""
    (folder / "set").mkdir()
    for split, records in rows.items():
        path = folder / "set" / f"{split}{suffix}"
        if suffix == ".csv":
            write_csv(path, records)
        else:
            path.write_text("\n".join(map(json.dumps, records)))
    return f"hf:{folder / 'set'}"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_cells_of_the_hub_are_as_they_stand_in_the_files(
    project: Project, tmp_path: Path, suffix: str
) -> None:
    """More rows than a chunk of `datasets`, whose labels all read as numbers; the next one has a word among them."""
    labels = ["01", "1", "NA"]
    rows = [
        {
            "text": f"{TEXTS[i % 5]} {i}",
            "label": labels[i % 2],
            "code": "007",
            "when": "2025-03-01T10:00:00+05:00",
        }
        for i in range(10_001)
    ]
    rows += [{"text": f"{TEXTS[0]} again {i}", "label": "NA", "code": "1,,0", "when": ""} for i in range(500)]
    data = hub_folder(tmp_path, suffix, {"train": rows, "test": rows[-600:]})
    loaded = project.new_task(data, label="label", text=("text",))
    assert set(loaded.task.data.labels) == {"01", "1", "NA"}
    table = sources.read_source(str(loaded.data_dir), say=print).tables["train"]
    assert {row[table.columns.index("code")] for row in table.rows} == {"007", "1,,0"}
    assert {row[table.columns.index("when")] for row in table.rows} == {"2025-03-01T10:00:00+05:00", ""}


def test_another_class_column_that_is_unknown_in_a_row_leaves_the_row_in() -> None:
    given = tables.Table(("text", "label", "other"), (("a", "1", "-1"), ("b", "0", "2")), "", False)
    names = {"label": ["neg", "pos"], "other": ["x", "y", "z"]}
    assert sources._with_names(given, names).rows == (("a", "pos", ""), ("b", "neg", "z"))
    words = tables.Table(("label",), (("neg",), ("pos",)), "", False)
    assert sources._with_names(words, {"label": ["pos", "neg"]}) == words


def relabelled(labels: list[str]) -> list[dict[str, str]]:
    return [row | {"stars": labels[i % len(labels)]} for i, row in enumerate(reviews(len(labels) * 8))]


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (
            ["neg", "pos", "neg", "neg "],
            "labels that differ only in case, blanks or notation: 'neg' (16), 'neg ' (8)",
        ),
        (
            ["Neg", "pos", "neg", "neg"],
            "labels that differ only in case, blanks or notation: 'neg' (16), 'Neg' (8)",
        ),
        (["1", "0", "1", "1.0"], "labels that differ only in case, blanks or notation: '1' (16), '1.0' (8)"),
        (["caf\u00e9", "no", "cafe\u0301", "no"], "labels that differ only in case, blanks or notation: "),
        (["pos", "neg", "nan", "neg"], "label 'nan' (8) reads like a missing value"),
        (["0", "2", "-1", "2"], "label '-1' (8) is what data sets write for a hidden label"),
        (["new\nline", "pos"], "a label with blanks or line breaks in or around it: 'new\\nline' (8)"),
    ],
)
def test_odd_labels_are_said_with_their_counts(
    project: Project, tmp_path: Path, labels: list[str], note: str
) -> None:
    loaded = project.new_task(write_csv(tmp_path / "rows.csv", relabelled(labels)), label="stars")
    assert any(note in line for line in project.said), project.said
    assert set(loaded.task.data.labels) == set(labels)  # what is said is not changed


def test_labels_that_are_twins_are_made_one_where_that_is_asked_for(project: Project, tmp_path: Path) -> None:
    rows = relabelled(["neg", "pos", "neg", "Neg "])
    loaded = project.new_task(
        write_csv(tmp_path / "rows.csv", rows), label="stars", labels=new_task.LabelChoice(merge=True)
    )
    assert loaded.task.data.labels == ("neg", "pos")
    [table] = sources.read_source(str(loaded.data_dir), say=print).tables.values()
    assert collections.Counter(row[table.columns.index("stars")] for row in table.rows) == {
        "neg": 24,
        "pos": 8,
    }


def test_rows_of_a_label_are_left_out_where_that_is_asked_for(project: Project, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", relabelled(["neg", "pos", "nan", "pos"]))
    loaded = project.new_task(path, label="stars", labels=new_task.LabelChoice(dropped=("nan",)))
    assert loaded.task.data.labels == ("neg", "pos")
    with pytest.raises(UserError, match="no row has this label"):
        project.new_task(path, label="stars", labels=new_task.LabelChoice(dropped=("NaN",)), force=True)


def test_a_label_with_one_example_is_said(project: Project, tmp_path: Path) -> None:
    rows = [*reviews(), reviews(1)[0] | {"stars": "odd", "comment": "one of its kind and no other"}]
    project.new_task(write_csv(tmp_path / "rows.csv", rows), label="stars")
    assert any("1 label has one example only ('odd')" in line for line in project.said)


def test_a_test_set_with_hidden_labels_is_no_eval(project: Project, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_csv(tmp_path / "set" / "train.csv", relabelled(["1", "-1"]))
    write_csv(tmp_path / "set" / "test.csv", relabelled(["-1"]))
    with pytest.raises(
        UserError, match="every row of eval has the label '-1', as a test set with hidden labels does"
    ):
        project.new_task(tmp_path / "set", label="stars")


def test_a_folder_of_the_users_is_never_replaced(project: Project, tmp_path: Path) -> None:
    """data/mine/reviews.csv, with a blank row that makes a conversion necessary."""
    own = project.data / "mine"
    own.mkdir(parents=True)
    path = write_csv(own / "reviews.csv", [*reviews(), dict.fromkeys(reviews(1)[0], "")])
    (own / "notes.txt").write_text("mine")
    before = {entry.name: entry.read_bytes() for entry in own.iterdir()}
    with pytest.raises(
        UserError, match=r"would go to .*/mine, which holds notes.txt that new-task did not write"
    ):
        project.new_task(path, label="stars")
    assert {entry.name: entry.read_bytes() for entry in own.iterdir()} == before
    assert list(project.tasks.iterdir()) == []


def test_converted_data_is_replaced_where_it_is_ours_and_kept_where_somebody_added_to_it(
    project: Project, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "rows.csv", reviews(), delimiter=";")
    loaded = project.new_task(path, label="stars")
    project.new_task(path, label="stars", force=True)
    assert (project.tasks / "mine.toml.bak").exists()
    (loaded.data_dir / "added.csv").write_text("a\n")
    with pytest.raises(UserError, match="which holds added.csv that new-task did not write"):
        project.new_task(path, label="stars", force=True)
    assert (loaded.data_dir / "added.csv").exists()
    assert (loaded.data_dir / "all.csv").exists()


def test_a_name_with_brackets_is_read_and_its_data_converted(project: Project, tmp_path: Path) -> None:
    loaded = project.new_task(write_csv(tmp_path / "reviews [final].csv", reviews()), label="stars")
    assert loaded.task.data.files == {"all": "all.csv"}
    assert loaded.data_dir == project.data / "mine"


def test_a_column_with_a_line_break_and_quotes_does_not_break_the_task_file(
    project: Project, tmp_path: Path
) -> None:
    name = 'what "you"\nthink # of it'
    rows = [{name: row["comment"], "stars": row["stars"]} for row in reviews()]
    path = tmp_path / "rows.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert project.new_task(path, label="stars", text=(name,)).task.data.text == (name,)
