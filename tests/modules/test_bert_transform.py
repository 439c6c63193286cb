"""bert_transform: a real Transform run on four rows, read back, and served without label or vocabulary."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import apache_beam as beam
import bert_task
import bert_transform
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx.components.util import udf_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.public import tfxio

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "##ish", "shoes", "!", "bad")
ROWS = (
    ("Good", "shoes!", "positive"),
    ("bad", "", "negative"),
    ("", "goodish shoes", "no such label"),
    ("shoes " * 9, "bad", "positive"),
)
WORD_IDS = ([2, 4, 3, 6, 7, 3], [2, 8, 3, 3], [2, 3, 4, 5, 6, 3], [2, 6, 6, 6, 6, 3, 8, 3])
TYPE_IDS = ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1])
DATA = bert_task.DataConfig(
    path=".", text=("text", "text_b"), label="label", labels=("negative", "positive"), files={"all": "*.csv"}
)


def custom_config(folder: Path) -> dict[str, object]:
    vocab_path = folder / "vocab.txt"
    vocab_path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    text = bert_task.TextConfig(max_seq_length=8)
    sections = {"data": bert_task.to_json(DATA), "text": bert_task.to_json(text)}
    return {**sections, "vocab_path": str(vocab_path), "lower_case": True}


def raw_schema(*, shaped: bool) -> schema_pb2.Schema:
    shape = "shape { dim { size: 1 } } presence { min_fraction: 1 }" if shaped else ""
    features = (f'feature {{ name: "{name}" type: BYTES {shape} }}' for name in ("text", "text_b", "label"))
    return text_format.Parse("\n".join(features), schema_pb2.Schema())


def example(row: tuple[str, ...], *, shaped: bool) -> bytes:
    """A tf.Example of (text, text_b, label); without a shape in the schema an empty cell is left out."""
    proto = tf.train.Example()
    for name, value in zip(("text", "text_b", "label"), row, strict=False):
        if shaped or value:
            proto.features.feature[name].bytes_list.value.append(value.encode("utf-8"))
    return proto.SerializeToString()


def transform(folder: Path, *, shaped: bool) -> tft.TFTransformOutput:
    """Runs ROWS through Beam: records to `folder`/examples, the graph to `folder`/graph."""
    records = tfxio.TFExampleBeamRecord(("test",), schema=raw_schema(shaped=shaped))
    function = functools.partial(bert_transform.preprocessing_fn, custom_config=custom_config(folder))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "temp")):
        raw = pipeline | beam.Create([example(row, shaped=shaped) for row in ROWS]) | records.BeamSource()
        (data, metadata), graph = (
            raw,
            records.TensorAdapterConfig(),
        ) | tft_beam.AnalyzeAndTransformDataset(function, output_record_batches=True)
        encode = RecordBatchToExamplesEncoder(metadata.schema).encode
        examples = data | beam.FlatMapTuple(lambda batch, _: encode(batch))
        _ = examples | beam.io.WriteToTFRecord(str(folder / "examples"), num_shards=1)
        _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    return tft.TFTransformOutput(str(folder / "graph"))


def read_back(
    folder: Path, output: tft.TFTransformOutput
) -> list[tuple[list[int], list[int], list[int], int]]:
    """(word ids, mask, type ids, label id) of each written record, in the order of the texts."""
    (path,) = folder.glob("examples-*")
    spec = output.transformed_feature_spec()
    parsed = [tf.io.parse_single_example(record, spec) for record in tf.data.TFRecordDataset(str(path))]
    names = bert_task.ENCODER_INPUTS
    return [(*(p[name].numpy().tolist() for name in names), p["label_id"].numpy().tolist()) for p in parsed]


@pytest.mark.parametrize("shaped", [True, False], ids=["dense", "sparse"])
def test_transform_writes_ragged_records_and_serves_without_label_or_vocabulary(
    tmp_path: Path, shaped: bool
) -> None:
    output = transform(tmp_path, shaped=shaped)
    written = read_back(tmp_path, output)
    assert sorted(written) == sorted(
        (word_ids, [1] * len(word_ids), type_ids, label_id)
        for word_ids, type_ids, label_id in zip(WORD_IDS, TYPE_IDS, (1, 0, -1, 1), strict=True)
    )
    assert 'step: "input_word_ids$ragged_values"' in str(output.transformed_metadata.schema)

    (tmp_path / "vocab.txt").unlink()
    spec = schema_utils.schema_as_feature_spec(raw_schema(shaped=shaped)).feature_spec
    del spec["label"]
    raw = tf.io.parse_example([example(row[:2], shaped=shaped) for row in ROWS], spec)
    served = output.transform_features_layer()(raw)
    assert sorted(served) == sorted(bert_task.ENCODER_INPUTS)
    assert served["input_word_ids"].to_list() == list(WORD_IDS)
    assert served["input_type_ids"].to_list() == list(TYPE_IDS)


def test_one_text_column_and_a_batch_without_any_text(tmp_path: Path) -> None:
    config = custom_config(tmp_path)
    config["data"] = bert_task.to_json(dataclasses.replace(DATA, text=("text",)))
    nothing = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.constant([], tf.string), [3, 0])
    outputs = bert_transform.preprocessing_fn(
        {"text": nothing, "label": tf.constant([["positive"]] * 3)}, config
    )
    assert outputs["input_word_ids"].to_list() == [[2, 3]] * 3
    assert outputs["label_id"].numpy().tolist() == [1, 1, 1]


def test_the_modules_work_as_tfx_packages_them(tmp_path: Path) -> None:
    """Only the wheel's files are importable: a sub-folder, a data file, a late import would be missed."""
    modules = Path(bert_transform.__file__)
    wheel, module_key = udf_utils.package_user_module_file("Transform", str(modules), str(tmp_path))
    assert module_key == f"bert_transform@{wheel}"
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    # As TFX loads them: last on the path, and the path restored before the function is called.
    code = (
        "import json, sys, tensorflow as tf\n"
        "sys.path.append(sys.argv[2]); import bert_transform; sys.path.pop()\n"
        "columns = {'text': ['Goodish'], 'text_b': ['bad'], 'label': ['negative']}\n"
        "inputs = {name: tf.constant([value]) for name, value in columns.items()}\n"
        "outputs = bert_transform.preprocessing_fn(inputs, json.loads(sys.argv[1]))\n"
        "print(json.dumps([bert_transform.__file__, outputs['input_word_ids'].to_list()]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(custom_config(tmp_path)), str(installed)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [str(installed / "bert_transform.py"), [[2, 4, 5, 3, 8, 3]]]
