"""Tables become tf.Examples of bytes, whatever real text holds; a broken file is named with its line."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from bert_pipeline.components import example_gen
from bert_pipeline.settings.errors import UserError


def write(tmp_path, content: bytes) -> str:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    return str(path)


def test_quotes_commas_and_line_breaks_stay_in_their_cell(tmp_path):
    path = write(tmp_path, b'text,label\n"two\nlines, ""quoted""",a\nplain,b\n')
    assert list(example_gen.read_csv(path)) == [
        {"text": b'two\nlines, "quoted"', "label": b"a"},
        {"text": b"plain", "label": b"b"},
    ]


def test_carriage_returns_inside_a_cell_are_kept(tmp_path):
    path = write(tmp_path, b'text,label\r\n"one\r\ntwo",a\r\n')
    assert list(example_gen.read_csv(path)) == [{"text": b"one\r\ntwo", "label": b"a"}]


def test_byte_order_mark_is_not_part_of_the_header(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbftext,label\nx,a\n")
    assert list(example_gen.read_csv(path)) == [{"text": b"x", "label": b"a"}]


def test_bytes_that_are_not_utf8_survive_for_the_validator_to_name(tmp_path):
    path = write(tmp_path, b"text,label\ncaf\xe9,a\n")
    assert list(example_gen.read_csv(path)) == [{"text": b"caf\xe9", "label": b"a"}]


def test_row_with_too_few_cells_is_named_with_its_line(tmp_path):
    path = write(tmp_path, b"text,label\nfine,a\nlost\n")
    with pytest.raises(
        UserError, match=r"rows\.csv:3: 1 cells, but the header names 2 columns \(text, label\)"
    ):
        list(example_gen.read_csv(path))


def test_unclosed_quote_is_an_error_and_not_a_long_cell(tmp_path):
    path = write(tmp_path, b'text,label\n"open,a\nnext,b\n')
    with pytest.raises(UserError, match=r"rows\.csv:\d+: unexpected end of data; write quotes"):
        list(example_gen.read_csv(path))


def test_file_without_header_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no header"):
        list(example_gen.read_csv(write(tmp_path, b"")))


def test_empty_cell_is_a_feature_without_value():
    example = example_gen.to_example({"text": b"good", "label": b""})
    assert list(example.features.feature["text"].bytes_list.value) == [b"good"]
    assert list(example.features.feature["label"].bytes_list.value) == []


def test_numbers_in_a_text_column_stay_text(tmp_path):
    path = write(tmp_path, b"text,label\n10,1\n9.5,0\n")
    assert [row["text"] for row in example_gen.read_csv(path)] == [b"10", b"9.5"]


def test_parquet_rows_equal_csv_rows(tmp_path):
    path = str(tmp_path / "rows.parquet")
    pq.write_table(pa.table({"text": ["é", None], "label": [1, 2]}), path)
    assert list(example_gen.read_parquet(path)) == [
        {"text": "é".encode(), "label": b"1"},
        {"text": b"", "label": b"2"},
    ]


def test_copies_of_a_text_stand_on_one_side_of_a_hash_split(tmp_path):
    """Through TFX's ExampleGen; rows with an empty text are split as well, and are for ExampleValidator to refuse."""
    rows = [f"text number {i % 30},label {i % 2},{i}" for i in range(300)]
    write(tmp_path, ("text,label,id\n" + "\n".join([*rows, ",label 1,300", ",label 0,301"]) + "\n").encode())
    executor = example_gen.TableExecutor()
    component = example_gen.text_example_gen(
        data_dir=tmp_path, files={"all": "rows.csv"}, data_format="csv", hash_buckets={"train": 2, "eval": 1}, span=0,
        key="text",
    )  # fmt: skip
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    properties = dict(component.exec_properties)
    executor.Do({}, {"examples": [examples]}, properties)
    texts = {}
    for split in ("train", "eval"):
        paths = list((tmp_path / "examples" / f"Split-{split}").iterdir())
        records = tf.data.TFRecordDataset(list(map(str, paths)), "GZIP").as_numpy_iterator()
        features = [tf.train.Example.FromString(record).features.feature for record in records]
        texts[split] = [b"".join(feature["text"].bytes_list.value) for feature in features]
    assert len(texts["train"]) + len(texts["eval"]) == 302
    assert min(map(len, texts.values())) >= 30
    assert set(texts["train"]) & set(texts["eval"]) == set()
