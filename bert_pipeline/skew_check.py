"""The comparison of a skew check: ids and probabilities of every text, as trained and as served."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import bert_task
import numpy as np
import tensorflow as tf
from bert_task import ENCODER_INPUTS, LABEL_ID

from bert_pipeline import skew_sides, table_files
from bert_pipeline.components.example_gen import read_csv, read_parquet
from bert_pipeline.errors import UserError

# float32 through six layers: rounding alone makes about 1e-7, a wrong token far over 1e-4.
MAX_PROBABILITY_DIFFERENCE = 1e-5

# Texts in memory at once, with their ids; each such group costs one Beam pipeline of a few seconds.
_GROUP = 16_384

# Texts to a model call, of similar length.
_MODEL_BATCH = 64

# Differing texts that are named.
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Artifacts:
    """What one training left behind."""

    transform_graph_dir: str
    model_run_dir: str
    saved_model_dir: str


@dataclasses.dataclass(frozen=True)
class Text:
    """One row."""

    where: str
    """`reviews.csv row 7`, the header not counted."""

    columns: tuple[bytes, ...]
    """The text columns, in the task's order."""

    example: bytes
    """Serialized tf.Example of the row."""


@dataclasses.dataclass
class Skew:
    """What differs, over all texts so far."""

    num_texts: int = 0
    num_id_differences: int = 0
    """Texts of which any id, mask, type or label id differs."""

    text_difference: float = 0.0
    """Largest |probability| difference between the Trainer's model and `serving_default`."""

    example_difference: float = 0.0
    """The same, for `serve_examples`."""

    named: list[str] = dataclasses.field(default_factory=list)
    """The first texts that differ, and in what."""

    @property
    def found(self) -> bool:
        """Whether training and serving differ."""
        worst = max(self.text_difference, self.example_difference)
        return self.num_id_differences > 0 or not worst < MAX_PROBABILITY_DIFFERENCE

    def name(self, sentence: str) -> None:
        """Keeps the first sentences."""
        if len(self.named) < _NUM_NAMED:
            self.named.append(sentence)


def read_texts(paths: Iterable[Path], *, data: bert_task.DataConfig) -> Iterator[Text]:
    """Reads tables as ExampleGen does, but for two things: other columns are left out, and a missing label
    becomes the first one, so that unlabelled texts can be compared.

    Raises:
        UserError: a file lacks a text column.
    """
    for path in paths:
        reader = read_parquet if table_files.is_parquet(path) else read_csv
        for number, row in enumerate(reader(str(path)), start=1):
            missing = [column for column in data.text if column not in row]
            if missing:
                raise UserError(
                    f"{path}: there is no column {missing[0]!r} (data.text); it has {', '.join(row)}"
                )
            cells = {column: row[column] for column in data.text}
            cells[data.label] = row.get(data.label) or data.labels[0].encode()
            yield Text(
                where=f"{path.name} row {number}",
                columns=tuple(row[column] for column in data.text),
                example=_example(cells),
            )


def _example(cells: dict[str, bytes]) -> bytes:
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[cell])) for name, cell in cells.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def run_skew(
    paths: Iterable[Path],
    *,
    data: bert_task.DataConfig,
    artifacts: Artifacts,
    progress: Callable[[int], None] | None = None,
) -> Skew:
    """Compares training with serving on every text of some tables.

    Args:
        paths: CSV or Parquet files with the task's text columns.
        data: section [data] of the task.
        artifacts: of the training.
        progress: called with the number of texts compared so far.
    """
    transform = skew_sides.TransformSide(artifacts.transform_graph_dir, data=data)
    trainer = skew_sides.TrainerSide(artifacts.model_run_dir)
    serving = skew_sides.ServingSide(artifacts.saved_model_dir)
    skew = Skew()
    texts = read_texts(paths, data=data)
    while group := list(itertools.islice(texts, _GROUP)):
        ids = transform.ids([text.example for text in group])
        order = np.argsort([len(row) for row in ids[bert_task.INPUT_WORD_IDS]], kind="stable")
        skew.num_texts += len(group)
        _compare_ids(skew, group, ids=ids, order=order, serving=serving)
        for start in range(0, len(order), _MODEL_BATCH):
            rows = order[start : start + _MODEL_BATCH]
            batch = [group[row] for row in rows]
            trained = trainer.probabilities(ids, rows)
            columns = zip(*(text.columns for text in batch), strict=True)
            by_text = serving.by_text(dict(zip(data.text, columns, strict=True)))
            by_example = serving.by_example([text.example for text in batch])
            _compare_probabilities(skew, batch, trained=trained, by_text=by_text, by_example=by_example)
            if progress and (start // _MODEL_BATCH) % 32 == 31:
                progress(skew.num_texts - len(group) + start + len(rows))
    if not skew.num_texts:
        raise UserError(f"there is no text in {', '.join(map(str, paths))}; give a table with rows")
    return skew


def _compare_ids(
    skew: Skew, group: list[Text], *, ids: skew_sides.Ids, order: np.ndarray, serving: skew_sides.ServingSide
) -> None:
    differing: dict[int, str] = {}
    # Larger batches than for the model: ids cost no arithmetic.
    for start in range(0, len(order), 16 * _MODEL_BATCH):
        rows = order[start : start + 16 * _MODEL_BATCH]
        served = serving.ids([group[row].example for row in rows])
        for position, row in enumerate(rows):
            for name in (*ENCODER_INPUTS, LABEL_ID):
                if not np.array_equal(ids[name][row], served[name][position]):
                    differing[int(row)] = _id_sentence(name, ids[name][row], served[name][position])
                    break
    skew.num_id_differences += len(differing)
    for row in sorted(differing):
        skew.name(f"{group[row].where}: {differing[row]}")


def _id_sentence(name: str, trained: np.ndarray, served: np.ndarray) -> str:
    if name == LABEL_ID:
        return f"label_id is {trained.tolist()} in Transform and {served.tolist()} in the SavedModel"
    shared = min(len(trained), len(served))
    unequal = np.nonzero(trained[:shared] != served[:shared])[0]
    if not len(unequal):
        return f"{name} has {len(trained)} positions in Transform and {len(served)} in the SavedModel"
    at = unequal[0]
    return f"{name}[{at}] is {trained[at]} in Transform and {served[at]} in the SavedModel"


def _compare_probabilities(
    skew: Skew, batch: list[Text], *, trained: np.ndarray, by_text: np.ndarray, by_example: np.ndarray
) -> None:
    text_gaps, example_gaps = (_gaps(trained, served) for served in (by_text, by_example))
    skew.text_difference = max(skew.text_difference, float(text_gaps.max()))
    skew.example_difference = max(skew.example_difference, float(example_gaps.max()))
    for name, gaps in (("serving_default", text_gaps), ("serve_examples", example_gaps)):
        for row in np.nonzero(~(gaps < MAX_PROBABILITY_DIFFERENCE))[0]:
            skew.name(
                f"{batch[row].where}: probabilities of the Trainer's model and {name} differ by {gaps[row]:.1e}"
            )


def _gaps(trained: np.ndarray, served: np.ndarray) -> np.ndarray:
    """Largest difference of each text, float [batch]; infinite where a probability is not a number."""
    gaps = np.abs(trained.astype(np.float64) - served).max(axis=1)
    return np.where(np.isnan(gaps), np.inf, gaps)
