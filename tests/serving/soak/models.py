"""Models that tell on the server: who answered, how many rows ran together, and what ran too late."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

# Rows that begin so long after their deadline waited for it in vain: a full processor alone delays the way from the
# queue, where the server looks at the clock, into the graph, where the model does, by some hundredths of a second.
LATE_SECONDS = 0.1


_WORDS = tuple(f"word {number}" for number in range(3000))


class Echo(tf.Module):
    """Answers with its own name and version, the text, and how many rows it was asked together with.

    It has a vocabulary, as models of text do: one that is cut off loads without a complaint, and answers wrongly.
    """

    def __init__(self, name: str, version: int, *, megabytes: float, words: Path) -> None:
        super().__init__()
        self._prefix, self._version = f"{name}:{version}:", version
        lines = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        file = tf.lookup.TextFileInitializer(str(words), tf.string, lines[0], tf.int64, lines[1])
        self.numbers = tf.lookup.StaticHashTable(file, default_value=-1)
        self.ballast = tf.Variable(tf.random.stateless_uniform([int(megabytes * 250_000)], (version, 1)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.shape(text)
        is_whole = self.numbers.lookup(tf.constant(_WORDS[-1])) >= 0
        return {
            "answer": tf.strings.join([tf.where(is_whole, self._prefix, "vocabulary cut off:"), text]),
            "version": tf.fill(rows, tf.constant(self._version, tf.int64)),
            "rows": tf.fill(rows, rows[0]),
        }


class Clock(tf.Module):
    """Knows what time it is: counts the rows that run, and those whose deadline had passed when they began."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = tf.Variable(0, dtype=tf.int64)
        self.late = tf.Variable(0, dtype=tf.int64)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float64, name="deadline"),
            tf.TensorSpec([None], tf.int32, name="turns"),
        ]
    )
    def serve(self, deadline: tf.Tensor, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        """`deadline` in seconds of Unix time; the time taken grows with the sum of `turns`."""
        late = tf.reduce_sum(tf.cast(tf.timestamp() > deadline + LATE_SECONDS, tf.int64))
        self.late.assign_add(late)
        self.rows.assign_add(tf.size(turns, out_type=tf.int64))
        matrix = tf.eye(300)
        for _ in tf.range(tf.reduce_sum(turns)):
            matrix = tf.linalg.matmul(matrix, matrix)
        return {"turns": turns + tf.cast(matrix[0, 1], tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.int32, name="x")])
    def counts(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """The counters so far."""
        return {"rows": self.rows.read_value()[tf.newaxis], "late": self.late.read_value()[tf.newaxis]}


class Encoder(tf.Module):
    """One layer of attention over hashed words, padded to the longest text of the batch, as real ones are."""

    def __init__(self) -> None:
        super().__init__()
        random = tf.random.Generator.from_seed(1)
        self._embedding = tf.Variable(random.normal([1000, 64]))
        self._query, self._key = (tf.Variable(random.normal([64, 64]) / 8) for _ in range(2))
        self._head = tf.Variable(random.normal([64, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = tf.strings.split(tf.strings.join(["[CLS] ", text]))
        ids = tf.strings.to_hash_bucket_fast(words, 999).to_tensor(default_value=-1) + 1
        mask = tf.cast(ids > 0, tf.float32)
        x = tf.gather(self._embedding, ids)
        scores = tf.matmul(x @ self._query, x @ self._key, transpose_b=True) / 8
        weights = tf.nn.softmax(scores - 1e9 * (1 - mask[:, tf.newaxis]))
        pooled = tf.reduce_sum((weights @ x) * mask[..., tf.newaxis], 1) / tf.reduce_sum(
            mask, 1, keepdims=True
        )
        probabilities = tf.nn.softmax(pooled @ self._head)
        labels = tf.constant(["bad", "fair", "good"])
        return {"label": tf.gather(labels, tf.argmax(probabilities, axis=1)), "probabilities": probabilities}


def save_echo(folder: Path, *, name: str = "echo", megabytes: float = 1.0) -> Path:
    """Writes the version that the folder is named after, and pushes it as Pusher does: by renaming."""
    with tempfile.TemporaryDirectory() as work_dir:
        words = Path(work_dir) / "words.txt"
        words.write_text("\n".join(_WORDS))
        model = Echo(name, int(folder.name), megabytes=megabytes, words=words)
        return push(folder, lambda partial: tf.saved_model.save(model, str(partial), signatures=model.serve))


def save_clock(folder: Path) -> Path:
    """Writes a `Clock`."""
    model = Clock()
    signatures = {"serving_default": model.serve, "counts": model.counts}
    return push(folder, lambda partial: tf.saved_model.save(model, str(partial), signatures=signatures))


def save_encoder(folder: Path) -> Path:
    """Writes an `Encoder`."""
    model = Encoder()
    return push(folder, lambda partial: tf.saved_model.save(model, str(partial), signatures=model.serve))


def copy_version(source: Path, folder: Path) -> Path:
    """Pushes the same model under another version."""
    return push(folder, lambda partial: shutil.copytree(source, partial))


def push(folder: Path, write: Callable[[Path], object]) -> Path:
    """Writes to a name that no server looks at, then renames."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}"
    write(partial)
    # File systems count time in steps of some milliseconds. A rename in the same one as the last write looks like
    # writing, and the server would wait until the folder is quiet.
    time.sleep(0.02)
    partial.rename(folder)
    return folder


def size_mb(folder: Path) -> float:
    """Bytes of all files, in 10^6."""
    return sum(os.path.getsize(path) for path in folder.rglob("*") if path.is_file()) / 1e6
