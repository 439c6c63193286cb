"""Which texts are labelled, what the table looks like, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import standard_artifacts

from bert_pipeline.components import example_gen, labelled_table
from bert_pipeline.components.served_model_resolver import ServedModelStrategy
from bert_pipeline.running import label
from bert_pipeline.serving_folder.served import served_versions
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.components.test_baseline_resolver import World
from tests.bert_pipeline.past import Past


def test_a_file_is_its_folder_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nfine\n")
    assert label.find_texts(tmp_path / "a.csv", columns=("text",)) == (tmp_path, "a.csv")


def test_a_folder_is_all_its_tables_of_one_kind(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["fine"]}), tmp_path / "a.parquet")
    assert label.find_texts(tmp_path, columns=("text",)) == (tmp_path, "*.parquet")


@pytest.mark.parametrize(
    ("files", "texts", "message"),
    [
        ({"a.csv": "text\nfine\n", "b.parquet": ""}, ".", r"holds \.csv and \.parquet files"),
        ({"notes.txt": "fine"}, ".", r"holds neither \.csv nor \.parquet files"),
        ({"notes.txt": "fine"}, "notes.txt", r"is no \.csv or \.parquet file"),
        (
            {"a.csv": "body,id\nfine,1\n"},
            "a.csv",
            r"no column 'text' \(it has body, id\); .* rename the column",
        ),
        ({"a.csv": "text\n"}, "a.csv", "has no row to label"),
        ({"a.csv": "text\nfine\n", "b.CSV": "text\nfine\n"}, ".", r"holds \.CSV and \.csv files"),
        ({"reviews [final].csv": "text\nfine\n"}, "reviews [final].csv", r"has a \[ in its name"),
    ],
)
def test_what_cannot_be_labelled_is_named(
    tmp_path: Path, files: dict[str, str], texts: str, message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        label.find_texts(tmp_path / texts, columns=("text",))


@pytest.mark.parametrize(
    ("to", "message"), [("labelled.xlsx", "named .csv or .parquet"), ("labelled.csv", "no model was blessed")]
)
def test_nothing_is_labelled_without_a_model_in_service_or_a_table_to_write(
    tmp_path: Path, to: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text("text\nfine\n")
    request = label.Request(
        task="toy", out=tmp_path / "out", texts=str(tmp_path / "a.csv"), to=str(tmp_path / to)
    )
    with pytest.raises(UserError, match=message):
        label.run(request)
    assert not (tmp_path / to).exists()


def test_csv_keeps_quotes_and_line_breaks_and_writes_probabilities_with_six_decimals(tmp_path: Path) -> None:
    rows: list[labelled_table.Row] = [{"text": 'two\nlines, "quoted"', "probability_a": 0.25}, {"text": "é"}]
    path = labelled_table.write_table(rows, str(tmp_path), "csv")
    assert path.read_text() == 'text,probability_a\n"two\nlines, ""quoted""",0.250000\né,\n'


def test_a_column_that_says_where_rows_stood_is_refused_in_the_input(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,__source_row__\nfine,1\n")
    with pytest.raises(UserError, match="a column is called __source_row__, which is taken; rename it"):
        list(example_gen._read_table(str(path), numbered=True))


def served(world: World, verdicts: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    """Ids of the resolved model and blessing; `verdicts`: for a model's id the verdicts on it, in their order."""
    blessings = []
    for model_id, blessed in verdicts.items():
        for verdict in blessed:
            blessing = standard_artifacts.ModelBlessing()
            blessing.id = 100 + len(blessings)
            blessing.set_int_custom_property("current_model_id", model_id)
            blessing.set_int_custom_property("blessed", verdict)
            blessings.append(blessing)
    inputs = {"model": world.models, "pushed_model": world.pushes, "model_blessing": blessings}
    found = ServedModelStrategy().resolve_artifacts(world.store, inputs)
    return [a.id for a in found["model"]], [a.id for a in found["model_blessing"]]


def test_texts_are_labelled_by_the_model_in_service_whatever_was_trained_or_refused_since() -> None:
    world = World()
    first, refused = world.model(), world.model()
    world.push(first)
    world.push(refused, pushed=0)
    assert served(world, {first.id: [1, 0], refused.id: [0]}) == ([first.id], [100])


def test_a_model_that_no_evaluation_blessed_labels_nothing() -> None:
    world = World()
    model = world.model()
    world.push(model)
    assert served(world, {model.id: [0]}) == ([model.id], [])
    assert served(World(), {}) == ([], [])


def test_columns_of_parquet_keep_their_types_and_their_missing_values(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([9007199254740993, 2, None], pa.int64()),
        "ok": pa.array([True, None, False]),
        "when": pa.array([0, None, 1], pa.timestamp("us")),
        "text": pa.array(["fine", "", None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    answers = {name: ["x"] * 3 for name in columns} | {
        "predicted_label": ["a", "b", "a"],
        "probability_a": [0.9, 0.2, 0.8],
    }
    table = label.with_types(pa.table(answers), texts=[tmp_path / "in.parquet"])
    assert table.column_names == [*columns, "predicted_label", "probability_a"]
    assert table["id"].to_pylist() == [9007199254740993, 2, None]
    assert table.schema.field("when").type == pa.timestamp("us")
    assert table["ok"].to_pylist() == [True, None, False]
    with pytest.raises(UserError, match="has 3 rows now, and 2 were labelled"):
        label.with_types(pa.table({"predicted_label": ["a", "b"]}), texts=[tmp_path / "in.parquet"])


def test_an_empty_text_is_asked_as_an_empty_text() -> None:
    example = example_gen.to_example({"text": b"", "id": b"7"}, fill=True)
    assert list(example.features.feature["text"].bytes_list.value) == [b""]


def test_texts_are_not_overwritten_by_their_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nfine\n")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    for target in ("a.csv", "b.csv"):
        with pytest.raises(UserError, match=rf"{target} holds the texts themselves; give another file"):
            label._check_target(tmp_path / target, texts=[tmp_path / "a.csv"])
    label._check_target(tmp_path / "c.csv", texts=[tmp_path / "a.csv"])


@pytest.mark.parametrize(
    ("name", "content"),
    [("labelled.csv", b"text,label\nfine,good\n"), ("labelled.csv", b"a,b\n1\n"), ("t.parquet", b"not one")],
)
def test_file_that_label_did_not_write_is_not_overwritten(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UserError, match=rf"{name} is there and was not written by this command; give another file"
    ):
        label._check_target(tmp_path / name, texts=[])


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_earlier_table_and_an_empty_file_are_overwritten(tmp_path: Path, file_format: str) -> None:
    table = labelled_table.write_table(
        [{"text": "fine", "predicted_label": "good"}], str(tmp_path), file_format
    )
    label._check_target(table, texts=[])
    (tmp_path / "empty.csv").touch()
    label._check_target(tmp_path / "empty.csv", texts=[])


def test_model_in_service_whose_blessing_is_gone_is_a_sentence(tmp_path: Path) -> None:
    past = Past(tmp_path / "out")
    past.run(span=1, weights="a")
    [version] = served_versions(past.paths.push_destination)
    label._check_blessed(past.store, version)
    [blessing] = past.store.get_artifacts_by_type("ModelBlessing")
    blessing.state = pb.Artifact.DELETED
    past.store.put_artifacts([blessing])
    with pytest.raises(UserError, match=rf"no evaluation in ML Metadata blessed version {version.version}"):
        label._check_blessed(past.store, version)
    (past.paths.push_destination / "9999999999").mkdir()
    with pytest.raises(UserError, match="version 9999999999, which is in service, was not pushed by a run"):
        label._check_blessed(past.store, served_versions(past.paths.push_destination)[-1])
