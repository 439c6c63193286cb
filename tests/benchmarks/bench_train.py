"""Measures the Trainer: examples/s of training, padding, and what the input pipeline can deliver.

    python tests/benchmarks/bench_train.py ENCODER_PATH [--precision bfloat16] [--examples 480]

ENCODER_PATH is the folder of a Hub-format BERT. Examples have random ids and lengths as sst2's (mean about
21 tokens), so that neither Transform nor a data set is needed. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import resource
import tempfile
import time
from typing import Any

import bert_batches
import bert_job
import bert_task
import bert_trainer
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

DATA = bert_task.DataConfig(path="", text=("text",), label="label", labels=("a", "b"), files={})
RAGGED = (
    'tensor_representation {{ key: "{0}" value {{ ragged_tensor {{ '
    'feature_path {{ step: "{0}$ragged_values" }} }} }} }}'
)


class Accessor:
    """Reads as TFX's DataAccessor does, by the same library."""

    def tf_dataset_factory(
        self, files: list[str], options: Any, schema: schema_pb2.Schema
    ) -> tf.data.Dataset:
        return tfxio.TFExampleRecord(files, schema=schema, telemetry_descriptors=[]).TensorFlowDataset(
            options
        )


def write_split(folder: pathlib.Path, name: str, *, num_examples: int, seed: int) -> bert_batches.Split:
    """Random examples, as Transform writes them."""
    names = bert_task.ENCODER_INPUTS
    features = "".join(f'feature {{ name: "{n}$ragged_values" type: INT }} ' for n in names)
    label = 'feature { name: "label_id" type: INT presence { min_fraction: 1 } shape {} } '
    group = (
        'tensor_representation_group { key: "" value { ' + "".join(RAGGED.format(n) for n in names) + " } }"
    )
    schema = text_format.Parse(features + label + group, schema_pb2.Schema())
    random = np.random.default_rng(seed)
    # A gamma distribution with sst2's mean and spread of tokens; [CLS] and [SEP] counted.
    lengths = np.clip(random.gamma(4.6, 4.6, num_examples).astype(int), 3, 128)
    with tf.io.TFRecordWriter(str(folder / f"{name}.gz"), "GZIP") as writer:
        for length in lengths:
            label_id = int(random.integers(2))
            word_ids = [
                101,
                *random.integers(1000 + 9000 * label_id, 10000 + 9000 * label_id, length - 2),
                102,
            ]
            lists = zip(names, (word_ids, [1] * length, [0] * length), strict=True)
            values = {f"{n}$ragged_values": v for n, v in lists} | {"label_id": [label_id]}
            feature = {n: tf.train.Feature(int64_list=tf.train.Int64List(value=v)) for n, v in values.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return bert_batches.Split(name, (str(folder / f"{name}.gz"),), Accessor(), schema)


def measure_batches(split: bert_batches.Split, *, batch_size: int, length_buckets: bool) -> dict[str, float]:
    """Padding (share of positions) and speed of the input pipeline alone."""
    start = time.monotonic()
    size = bert_batches.measure(split, labels=DATA.labels)
    counted = time.monotonic()
    options = {"batch_size": batch_size, "shuffle_seed": 1, "length_buckets": length_buckets}
    masks = [inputs["input_mask"] for inputs, _, _ in bert_batches.make_batches(split, size=size, **options)]
    padding = 1 - sum(int(tf.reduce_sum(mask)) for mask in masks) / sum(int(tf.size(mask)) for mask in masks)
    return {
        "padding": round(padding, 3),
        "count_examples_per_second": round(size.num_examples / (counted - start)),
        "batch_examples_per_second": round(size.num_examples / (time.monotonic() - counted)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder_path")
    parser.add_argument("--examples", type=int, default=480)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--no-length-buckets", action="store_true")
    parser.add_argument(
        "--batches-only", action="store_true", help="measure the input pipeline, do not train"
    )
    args = parser.parse_args()
    buckets = not args.no_length_buckets
    with tempfile.TemporaryDirectory() as folder:
        train = write_split(pathlib.Path(folder), "train", num_examples=args.examples, seed=1)
        result: dict[str, Any] = vars(args) | measure_batches(
            train, batch_size=args.batch_size, length_buckets=buckets
        )
        if not args.batches_only:
            training = bert_task.TrainingConfig(
                epochs=1, batch_size=args.batch_size, length_buckets=buckets, precision=args.precision
            )
            encoder = bert_task.EncoderConfig()
            job = bert_job.Job(DATA, encoder, training, args.encoder_path, train, folder)
            bert_trainer.train(job, strategy=bert_trainer.make_strategy())
            report = json.loads((pathlib.Path(folder) / bert_job.REPORT_FILE).read_text())
            result |= {"examples_per_second": report["examples_per_second"], "seconds": report["seconds"]}
    units_per_mb = 1 << 20 if platform.system() == "Darwin" else 1 << 10
    result["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // units_per_mb
    print(json.dumps(result))


if __name__ == "__main__":
    main()
