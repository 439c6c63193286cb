"""Skew check: compares ids and probabilities of training with those of the exported model, on any CSV."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import bert_task
import numpy as np
from bert_task import ENCODER_INPUTS, LABEL_ID
from ml_metadata import MetadataStore

from bert_pipeline.components.example_gen import read_csv, read_parquet, to_example
from bert_pipeline.data import spans, table_files
from bert_pipeline.metadata import database
from bert_pipeline.metadata.run_history import read_history
from bert_pipeline.running import skew_sides
from bert_pipeline.settings import config, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import RunPaths
from bert_pipeline.settings.requests import GraphRequest

# By the form of the export. float32 through six layers: rounding gives about 1e-7, a wrong token far over 1e-4.
# bfloat16 has 8 significant bits, so a small fault of the weights is not found in it.
MAX_PROBABILITY_DIFFERENCE = {"float32": 1e-5, "bfloat16": 0.05}

# Texts in memory at once, with their ids; each group costs one Beam pipeline of a few seconds.
_GROUP = 16_384

# Texts per model call, of similar length.
_MODEL_BATCH = 64

# Number of differing texts to report.
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Artifacts:
    """Outputs of one training."""

    transform_graph_dir: str
    model_run_dir: str
    saved_model_dir: str


@dataclasses.dataclass(frozen=True)
class Text:
    """One row."""

    where: str
    """`reviews.csv row 7`, not counting the header."""

    columns: tuple[bytes, ...]
    """The text columns, in the task's order."""

    example: bytes
    """Serialized tf.Example of the row."""


@dataclasses.dataclass
class Skew:
    """Differences over all texts so far."""

    limit: float = MAX_PROBABILITY_DIFFERENCE["float32"]
    """Probabilities that differ by less are equal but for rounding."""

    num_texts: int = 0
    num_id_differences: int = 0
    """Number of texts with a differing id, mask, type or label id."""

    text_difference: float = 0.0
    """Largest |probability| difference between the Trainer's model and `serving_default`."""

    example_difference: float = 0.0
    """The same, for `serve_examples`."""

    named: list[str] = dataclasses.field(default_factory=list)
    """The first differing texts and their differences."""

    @property
    def found(self) -> bool:
        """Whether training and serving differ."""
        worst = max(self.text_difference, self.example_difference)
        return self.num_id_differences > 0 or not worst < self.limit

    def name(self, sentence: str) -> None:
        """Adds sentences up to the limit."""
        if len(self.named) < _NUM_NAMED:
            self.named.append(sentence)


def read_texts(paths: Iterable[Path], *, data: bert_task.DataConfig) -> Iterator[Text]:
    """Reads tables like ExampleGen, with two differences: drops other columns, and replaces a missing label
    by the first one, so unlabelled texts can be compared.

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
                example=to_example(cells, fill=True).SerializeToString(),
            )


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
    skew = Skew(limit=MAX_PROBABILITY_DIFFERENCE[trainer.form])
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
    # Larger batches than for the model: ids need little computation.
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
        for row in np.nonzero(~(gaps < skew.limit))[0]:
            skew.name(
                f"{batch[row].where}: probabilities of the Trainer's model and {name} differ by {gaps[row]:.1e}"
            )


def _gaps(trained: np.ndarray, served: np.ndarray) -> np.ndarray:
    """Largest difference of each text, float [batch]; infinite where a probability is not a number."""
    gaps = np.abs(trained.astype(np.float64) - served).max(axis=1)
    return np.where(np.isnan(gaps), np.inf, gaps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(GraphRequest):
    """Arguments of `skew`."""

    csv: str
    """File to compare on; empty for the task's."""


def run(request: Request) -> int:
    """The verb `skew`: `--task --data --span --out --metadata --set --csv`.

    Returns:
        0 without skew, 1 with skew.
    """
    loaded, paths = request.load(), request.paths
    connection = database.connection_config(request.metadata, sqlite_path=paths.metadata)
    artifacts = newest_training(database.open_store(connection, must_exist=True), paths)
    files = [Path(request.csv)] if request.csv else task_files(loaded)
    print(f"transform graph  {artifacts.transform_graph_dir}\nSavedModel       {artifacts.saved_model_dir}")
    started = time.monotonic()
    skew = run_skew(files, data=loaded.task.data, artifacts=artifacts, progress=_print_progress)
    for line in as_lines(skew):
        print(line)
    print(f"time             {time.monotonic() - started:.1f} s")
    return 1 if skew.found else 0


def _print_progress(num_texts: int) -> None:
    print(f"  {num_texts:,} texts compared", flush=True)


def as_lines(skew: Skew) -> Iterator[str]:
    """Formats the result as text."""
    yield f"texts            {skew.num_texts:,}"
    yield f"token ids        Transform's and the SavedModel's differ in {skew.num_id_differences:,} texts (must be 0)"
    limit = f"(must be under {skew.limit:g})"
    yield f"probabilities    Trainer's model against text in: differ by at most {skew.text_difference:.1e} {limit}"
    yield f"                 against tf.Examples in: differ by at most {skew.example_difference:.1e} {limit}"
    yield from (f"  {sentence}" for sentence in skew.named)
    yield f"verdict          {'SKEW: serving does not compute what was trained' if skew.found else 'no skew'}"


def newest_training(store: MetadataStore, paths: RunPaths) -> Artifacts:
    """Finds the last finished training of a task, and its transform graph.

    Raises:
        UserError: there is none yet.
    """
    history = read_history(store, task=paths.task_name)
    # A cached execution counts: restoring a setting makes an older training current again.
    done = [
        e for e in history.executions.values() if e.node == "Trainer" and e.state in ("COMPLETE", "CACHED")
    ]
    if not done:
        raise UserError(f"no training has finished in {paths.root}; {typed.command('pipeline')} first")
    found = {**done[-1].inputs, **done[-1].outputs}
    uris = {key: history.artifacts[ids[0]].uri for key, ids in found.items()}
    return Artifacts(
        transform_graph_dir=uris["transform_graph"],
        model_run_dir=uris["model_run"],
        saved_model_dir=str(Path(uris["model"]) / "Format-Serving"),
    )


def task_files(loaded: config.LoadedTask) -> list[Path]:
    """The labelled files of a task; of all spans if the pattern has spans."""
    patterns = [spans.as_glob(pattern) for pattern in loaded.task.data.files.values()]
    paths = sorted(path for pattern in patterns for path in loaded.data_dir.glob(pattern))
    if loaded.task.data.format == "tfrecord" or not paths:
        raise UserError(
            f"data.files: no table in {loaded.data_dir} to compare on; give one with {typed.give('csv')}"
        )
    return paths
