"""Without labels: agreement with rules or with another model. Never called accuracy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the tokenizer's ops)

from bert_pipeline.monitoring.request_logs import LoggedText
from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.sections import WeakLabelConfig

# Texts per call of the other model.
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How often the model's answers agree with rules or with another model."""

    whom: str
    num_texts: int
    """Number of texts that the other side answered."""

    num_agreeing: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.num_agreeing / self.num_texts if self.num_texts else 0.0

    @property
    def sentence(self) -> str:
        """The sentence in the report."""
        return (
            f"agrees with {self.whom} on {self.num_agreeing:,} of {self.num_texts:,} texts ({self.share:.1%})"
        )


def with_rules(
    texts: Sequence[LoggedText], rules: Sequence[WeakLabelConfig], *, columns: Sequence[str]
) -> Agreement:
    """Agreement with the first rule that matches each text.

    Args:
        texts: from the log.
        rules: of the task.
        columns: `data.text`.
    """
    patterns = [(re.compile(rule.pattern, re.IGNORECASE), rule.label) for rule in rules]
    fitting = agreeing = 0
    for text in texts:
        words = " ".join(text.columns.get(name, b"").decode("utf-8", "replace") for name in columns)
        label = next((label for pattern, label in patterns if pattern.search(words)), "")
        fitting += bool(label)
        agreeing += label == text.label
    return Agreement(f"the task's {len(rules)} rules", fitting, agreeing)


def with_model(
    texts: Sequence[LoggedText], folder: Path, *, columns: Sequence[str], say: Callable[[str], None]
) -> Agreement:
    """Agreement with another version of the model.

    Args:
        texts: from the log.
        folder: of a pushed version.
        columns: `data.text`.
        say: prints a line of progress.

    Raises:
        UserError: the folder is not a model of this task.
    """
    try:
        serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    except (OSError, KeyError) as error:
        raise UserError(
            f"{typed.name('compare')}: {folder} is not a model with a serving_default signature: {error}"
        ) from error
    agreeing = 0
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        inputs = {name: tf.constant([text.columns.get(name, b"") for text in batch]) for name in columns}
        answers = serve(**inputs)["label"].numpy().tolist()
        agreeing += sum(answer.decode() == text.label for answer, text in zip(answers, batch, strict=True))
        if start and start % (_BATCH * 64) == 0:
            say(f"  version {folder.name}: {start:,} of {len(texts):,} texts")
    return Agreement(f"version {folder.name}", len(texts), agreeing)
