"""The sections of a task file that Transform and Trainer read, as frozen dataclasses.

The others, and the whole file, are in `bert_pipeline/settings/sections.py`. `Literal` and `annotated_types` say which
values a key may have; `bert_pipeline/settings/config.py` reads a task file into these classes and refuses what does
not fit; here nothing is checked a second time.
Components receive single sections, never the whole tree: TFX hashes what a component is given
into its cache key, and a changed threshold must not retrain a BERT.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Interval

# The names of the encoder's inputs, as TF Hub's BERT modules have them
# (https://www.tensorflow.org/hub/common_saved_model_apis/text).
INPUT_WORD_IDS = "input_word_ids"
INPUT_MASK = "input_mask"
INPUT_TYPE_IDS = "input_type_ids"
ENCODER_INPUTS = (INPUT_WORD_IDS, INPUT_MASK, INPUT_TYPE_IDS)

# The transformed label: int64, the position of the label in `DataConfig.labels`.
LABEL_ID = "label_id"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Section [data]: where the labelled texts lie and what their columns mean."""

    path: str
    """Folder of the data, relative to the project root or absolute. `DATA=` overrides it."""

    text: tuple[str, ...]
    """Name of the text column, or of two (a pair: [CLS] a [SEP] b [SEP])."""

    label: str
    """Name of the label column."""

    labels: tuple[str, ...]
    """Every label, in the order of the label ids (0, 1, ...)."""

    files: dict[str, str]
    """Split name to file pattern under `path`: {train = ..., eval = ...}, or {all = ...} to be split by
    hash. A pattern may hold {SPAN} and {VERSION}, as TFX's ExampleGen understands them
    (https://www.tensorflow.org/tfx/guide/examplegen#span_version_and_split)."""

    format: Literal["csv", "parquet", "tfrecord"] = "csv"
    """`csv` (RFC 4180, UTF-8, header), `parquet`, or `tfrecord` (serialized tf.Examples)."""

    hash_buckets: dict[str, int] = dataclasses.field(default_factory=lambda: {"train": 4, "eval": 1})
    """Share of each split where `files` has only `all`: buckets of a hash of the first text column, so that copies of a
    text are all on one side (of tfrecord: of the whole record)."""

    span: Annotated[int, Ge(0)] = 0
    """Number of the span that is evaluated where the pattern holds {SPAN}, or days since 1970-01-01 where it holds
    {YYYY}-{MM}-{DD}; 0 is the newest. `SPAN=2` or `SPAN=2025-07-01` overrides it."""

    window: Annotated[int, Ge(1)] = 1
    """How many spans are trained on, up to and with `span`; only `span` is evaluated. `WINDOW=` overrides it."""

    label_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    """Expected share (0 to 1) of each label; empty: not checked."""

    label_share_tolerance: Annotated[float, Interval(ge=0, le=1)] = 0.15
    """How far (absolute) a label's share may lie from `label_shares` before the run stops."""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Section [text]: how text becomes token ids. Casing and vocabulary come from the encoder."""

    max_seq_length: Annotated[int, Interval(ge=3, le=512)] = 128
    """Tokens, [CLS] and [SEP] counted; at most 512 (Devlin et al. 2018, position embeddings)."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Section [encoder]: the pretrained BERT."""

    handle: str = "all-MiniLM-L6-v2"
    """A TF Hub or Kaggle handle (https://...), a SavedModel folder, a Hugging Face checkpoint folder
    (config.json, model.safetensors, vocab.txt or tokenizer.json), or a checkpoint name that `encoders.py` knows."""

    computation: Literal["real_tokens", "padded"] = "real_tokens"
    """`real_tokens`: dense layers run over [num_tokens, hidden], no work on padding; `padded`: the usual
    [batch, length, hidden], which XLA on an accelerator may prefer. Read when a checkpoint is converted."""

    pooling: Literal["pooled_output", "mean"] = "pooled_output"
    """What the head sees: `pooled_output` (BERT's tanh layer over [CLS]) or `mean` (mean over the real
    tokens of the last layer, as Sentence-BERT pools; Reimers and Gurevych 2019)."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Section [training]: how the encoder is fine-tuned. Defaults follow Devlin et al. 2018, A.3."""

    epochs: Annotated[int, Ge(1)] = 3
    """Passes over the train split."""

    batch_size: Annotated[int, Ge(1)] = 32
    """Global batch size in examples: over all replicas together."""

    learning_rate: Annotated[float, Interval(ge=0, le=1)] = 5e-5
    """Peak learning rate of AdamW."""

    warmup_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Share of all steps over which the rate rises linearly from 0; then it falls linearly to 0."""

    weight_decay: Annotated[float, Interval(ge=0, le=1)] = 0.01
    """Decoupled weight decay (Loshchilov and Hutter 2019); not on biases and layer norms."""

    dropout: Annotated[float, Interval(ge=0, le=0.99)] = 0.1
    """Dropout rate before the head; the encoder's own rates are in its checkpoint."""

    clip_norm: Annotated[float, Ge(0)] = 1.0
    """Global norm to which gradients are clipped; 0 switches clipping off."""

    class_weights: Literal["none", "balanced"] = "none"
    """`none`, or `balanced`: num_examples / (num_labels * count of the label)."""

    early_stopping_patience: Annotated[int, Ge(0)] = 0
    """Epochs without a better one before training stops; 0, or nothing held out: never. The best epoch's weights are
    kept either way."""

    held_out_share: Annotated[float, Interval(ge=0, le=0.5)] = 0.1
    """Share of the train split that is not trained on and chooses the best epoch, by a hash of the text's tokens; 0, or
    a part of under 30 texts: all are trained on, and the last epoch's weights are kept."""

    best_epoch_by: Literal["accuracy", "loss"] = "accuracy"
    """What makes an epoch the best, on the held-out part of train: `accuracy` (of equal ones the lower loss), or
    `loss`, which prefers calibrated probabilities to right answers."""

    freeze_encoder: bool = False
    """Train the head only."""

    length_buckets: bool = True
    """Batches of similar length: less padding. No example is dropped and none is seen twice."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """`float32`; `bfloat16` (CPU with oneDNN); `float16` (GPU, with loss scaling)."""

    seed: int = 13
    """Seeds weights of the head, dropout and shuffling."""

    warm_start: Literal["none", "latest_blessed"] = "none"
    """`none`: training starts from the pretrained encoder; `latest_blessed`: from the weights of the model that
    was blessed last, head included where the labels are the same."""


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Section [export]: what is written for serving; the Evaluator and InfraValidator judge that very file."""

    form: Literal["float32", "bfloat16"] = "float32"
    """What the exported encoder computes in: `float32`, or `bfloat16`, which is faster on a CPU with AVX-512 or Arm's
    bf16 and slower on others. The head and the probabilities are float32 in both."""


Section = TypeVar("Section")


def to_json(section: Any) -> str:
    """Writes one section as JSON, for a component's `custom_config`."""
    return json.dumps(dataclasses.asdict(section), sort_keys=True)


def from_json(cls: type[Section], text: str) -> Section:
    """Reads what `to_json` wrote; lists become tuples again.

    Args:
        cls: a flat section class, such as `TrainingConfig`.
        text: JSON object with exactly the fields of `cls`.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
    return cls(**values)
