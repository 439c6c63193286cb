"""What one task is: the sections of a task file as frozen dataclasses.

Standard library only, because every worker loads it; section [evaluation] fills a file of its own,
`bert_gates.py`, and is imported from here like the others. `bert_pipeline/settings/config.py` reads a task file
into these classes and refuses what does not fit; here nothing is checked a second time.
Components receive single sections, never the whole tree: TFX hashes what a component is given
into its cache key, and a changed threshold must not retrain a BERT.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar

from bert_gates import EvaluationConfig as EvaluationConfig
from bert_gates import GateConfig as GateConfig
from bert_monitoring import NOTICE_EVENTS as NOTICE_EVENTS
from bert_monitoring import MonitoringConfig as MonitoringConfig
from bert_monitoring import NoticesConfig as NoticesConfig
from bert_monitoring import ReportConfig as ReportConfig
from bert_monitoring import WeakLabelConfig as WeakLabelConfig

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

    format: str = "csv"
    """`csv` (RFC 4180, UTF-8, header), `parquet`, or `tfrecord` (serialized tf.Examples)."""

    hash_buckets: dict[str, int] = dataclasses.field(default_factory=lambda: {"train": 4, "eval": 1})
    """Share of each split where `files` has only `all`: buckets of a hash of the first text column, so that copies of a
    text are all on one side (of tfrecord: of the whole record)."""

    span: int = 0
    """Number of the span that is evaluated where the pattern holds {SPAN}, or days since 1970-01-01 where it holds
    {YYYY}-{MM}-{DD}; 0 is the newest. `SPAN=2` or `SPAN=2025-07-01` overrides it."""

    window: int = 1
    """How many spans are trained on, up to and with `span`; only `span` is evaluated. `WINDOW=` overrides it."""

    label_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    """Expected share (0 to 1) of each label; empty: not checked."""

    label_share_tolerance: float = 0.15
    """How far (absolute) a label's share may lie from `label_shares` before the run stops."""


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """Section [validation]: how far data may move before somebody is told, or the run stops.

    Limits are by column: `label`, a column of the data, or one derived from the text
    (`bert_pipeline/data/text_features.py`: text_num_tokens, text_unknown_share, text_truncated, text_script,
    text_empty, text_duplicate). Distances lie between 0 (equal) and 1: L-infinity for categories,
    Jensen-Shannon divergence for numbers, as TensorFlow Data Validation has them
    (https://www.tensorflow.org/tfx/data_validation/get_started#checking_data_skew_and_drift). What is set
    here is put over the defaults of `bert_pipeline/data/drift.py`; a limit of 1 is never passed.
    """

    drift_note: dict[str, float] = dataclasses.field(default_factory=dict)
    """Distance of the newest span from the span before, above which the summary notes it."""

    drift_stop: dict[str, float] = dataclasses.field(default_factory=dict)
    """The same, above which the run stops before training."""

    skew_note: dict[str, float] = dataclasses.field(default_factory=dict)
    """Distance of served texts from the texts of the training, above which it is noted."""

    skew_stop: dict[str, float] = dataclasses.field(default_factory=dict)
    """The same, above which the model should be trained anew."""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Section [text]: how text becomes token ids. Casing and vocabulary come from the encoder."""

    max_seq_length: int = 128
    """Tokens, [CLS] and [SEP] counted; at most 512 (Devlin et al. 2018, position embeddings)."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Section [encoder]: the pretrained BERT."""

    handle: str = "all-MiniLM-L6-v2"
    """A TF Hub or Kaggle handle (https://...), a SavedModel folder, a Hugging Face checkpoint folder
    (config.json, model.safetensors, vocab.txt or tokenizer.json), or a checkpoint name that `encoders.py` knows."""

    computation: str = "real_tokens"
    """`real_tokens`: dense layers run over [num_tokens, hidden], no work on padding; `padded`: the usual
    [batch, length, hidden], which XLA on an accelerator may prefer. Read when a checkpoint is converted."""

    pooling: str = "pooled_output"
    """What the head sees: `pooled_output` (BERT's tanh layer over [CLS]) or `mean` (mean over the real
    tokens of the last layer, as Sentence-BERT pools; Reimers and Gurevych 2019)."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Section [training]: how the encoder is fine-tuned. Defaults follow Devlin et al. 2018, A.3."""

    epochs: int = 3
    """Passes over the train split."""

    batch_size: int = 32
    """Global batch size in examples: over all replicas together."""

    learning_rate: float = 5e-5
    """Peak learning rate of AdamW."""

    warmup_fraction: float = 0.1
    """Share of all steps over which the rate rises linearly from 0; then it falls linearly to 0."""

    weight_decay: float = 0.01
    """Decoupled weight decay (Loshchilov and Hutter 2019); not on biases and layer norms."""

    dropout: float = 0.1
    """Dropout rate before the head; the encoder's own rates are in its checkpoint."""

    clip_norm: float = 1.0
    """Global norm to which gradients are clipped; 0 switches clipping off."""

    class_weights: str = "none"
    """`none`, or `balanced`: num_examples / (num_labels * count of the label)."""

    early_stopping_patience: int = 0
    """Epochs without a better one before training stops; 0, or nothing held out: never. The best epoch's weights are
    kept either way."""

    held_out_share: float = 0.1
    """Share of the train split that is not trained on and chooses the best epoch, by a hash of the text's tokens; 0, or
    a part of under 30 texts: all are trained on, and the last epoch's weights are kept."""

    best_epoch_by: str = "accuracy"
    """What makes an epoch the best, on the held-out part of train: `accuracy` (of equal ones the lower loss), or
    `loss`, which prefers calibrated probabilities to right answers."""

    freeze_encoder: bool = False
    """Train the head only."""

    length_buckets: bool = True
    """Batches of similar length: less padding. No example is dropped and none is seen twice."""

    precision: str = "float32"
    """`float32`; `bfloat16` (CPU with oneDNN); `float16` (GPU, with loss scaling)."""

    seed: int = 13
    """Seeds weights of the head, dropout and shuffling."""

    warm_start: str = "none"
    """`none`: training starts from the pretrained encoder; `latest_blessed`: from the weights of the model that
    was blessed last, head included where the labels are the same."""


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """Section [serving]: what the pushed model must run on."""

    tf_serving_version: str = ""
    """TensorFlow Serving release whose op list the exported graph is audited against; empty: the newest one known
    that is not newer than the installed TensorFlow (2.16.1 with TFX 1.16, 2.20.0 with TFX 1.21)."""

    num_warmup_requests: int = 8
    """Real requests that the candidate must answer, and that travel with it as warm-up (at most 1000)."""


@dataclasses.dataclass(frozen=True)
class BulkInferenceConfig:
    """Section [bulk_inference]: unlabelled texts to be labelled after each push."""

    files: str = ""
    """File pattern under `data.path`; empty: none."""

    format: str = "csv"
    """Of the table with labels and probabilities: `csv` or `parquet`."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """A whole task file."""

    name: str
    """Letters, digits and _; names the output folder and the served model."""

    description: str
    """One line for people; each run prints it."""

    data: DataConfig
    validation: ValidationConfig = ValidationConfig()
    text: TextConfig = TextConfig()
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    serving: ServingConfig = ServingConfig()
    bulk_inference: BulkInferenceConfig = BulkInferenceConfig()
    monitoring: MonitoringConfig = dataclasses.field(default_factory=MonitoringConfig)
    notices: NoticesConfig = dataclasses.field(default_factory=NoticesConfig)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)


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
