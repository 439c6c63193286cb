"""The eval texts as points: what the head of a trained model reads of each, for TensorBoard's projector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from bert_task import INPUT_WORD_IDS
from tensorboard.plugins import projector
from tfx.utils import io_utils

from bert_pipeline.running.skew_sides import ServingSide, TrainerSide

TENSOR = "pooled_output"
VECTORS_FILE, TEXTS_FILE = "pooled_output.tsv", "texts.tsv"

# Points beyond which the browser becomes slow; 1,000 of 384 numbers are a file of 4 MB.
_MAX_TEXTS = 1000
_BATCH = 64


def write_projector(folder: Path, *, examples_dir: Path, model_run_dir: Path, model_dir: Path) -> int:
    """Writes the vectors, what is known of each text, and the projector's configuration.

    Args:
        folder: an existing folder with event files, or that will get some.
        examples_dir: raw Examples with an eval split.
        model_run_dir: of the training; its weights give the vectors.
        model_dir: the SavedModel of the same training; it gives token ids and answers.

    Returns:
        Number of texts; 0: there is no eval split, and nothing was written.

    Raises:
        OSError: the encoder that the model was built on is not on this machine any more.
    """
    records = _eval_records(examples_dir)
    if not records:
        return 0
    serving, trainer = ServingSide(str(model_dir)), TrainerSide(str(model_run_dir))
    ids = serving.ids(records)
    order = np.argsort([len(row) for row in ids[INPUT_WORD_IDS]], kind="stable")
    vectors: list[np.ndarray] = []
    answers: list[str] = []
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        vectors.append(trainer.pooled(ids, rows))
        answers += serving.labels([records[row] for row in rows])
    back = np.argsort(order)
    np.savetxt(folder / VECTORS_FILE, np.concatenate(vectors)[back], fmt="%.6g", delimiter="\t")
    _write_texts(folder / TEXTS_FILE, records, answers=[answers[i] for i in back])
    config = projector.ProjectorConfig()
    config.embeddings.add(tensor_name=TENSOR, tensor_path=VECTORS_FILE, metadata_path=TEXTS_FILE)
    projector.visualize_embeddings(str(folder), config)
    return len(records)


def _eval_records(examples_dir: Path) -> list[bytes]:
    """At most _MAX_TEXTS serialized tf.Examples, evenly spaced."""
    paths = tf.io.gfile.glob(io_utils.all_files_pattern(str(examples_dir / "Split-eval")))
    records = list(tf.data.TFRecordDataset(sorted(paths), compression_type="GZIP").as_numpy_iterator())
    return records[:: max(1, -(-len(records) // _MAX_TEXTS))]


def _write_texts(path: Path, records: Sequence[bytes], *, answers: Sequence[str]) -> None:
    """One row a text, the answer first, then its columns; the projector knows no quotes."""
    rows = [tf.train.Example.FromString(record).features.feature for record in records]
    columns = sorted({column for row in rows for column in row})
    lines = [["predicted_label", *columns]]
    lines += [[a, *(_cell(row[c]) for c in columns)] for a, row in zip(answers, rows, strict=True)]
    path.write_text("".join("\t".join(map(_flat, line)) + "\n" for line in lines), encoding="utf-8")


def _cell(feature: tf.train.Feature) -> str:
    kind = feature.WhichOneof("kind")
    found = list(getattr(feature, kind).value) if kind else []
    return ", ".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in found)


def _flat(text: str) -> str:
    """A tab or a line end within a text would be read as the end of its cell."""
    return " ".join(text.split())
