"""A whole task file as frozen dataclasses: what each key means, its default, and the values it may have.

The sections that Transform and Trainer read are in `modules/bert_task.py`: TFX packs that folder for its workers and
puts a hash of it into their cache keys, so that what else is written here retrains nothing. `config.py` reads a task
file into these classes; types, choices (`Literal`) and ranges (`annotated_types`) are checked by pydantic.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, ClassVar, Literal, get_args

import bert_task
from annotated_types import Ge, Interval
from bert_task import DataConfig, EncoderConfig, ExportConfig, TextConfig, TrainingConfig

# A distance between two distributions: 0 for equal ones.
Distance = Annotated[float, Interval(ge=0, le=1)]
# A difference of a metric, without its sign.
Difference = Annotated[float, Ge(0)]

# What a notice can be about: how a run ended, and the verdicts of `monitor`.
NoticeEvent = Literal["pushed", "unchanged", "refused", "failed", "fine", "watch", "retrain"]
NOTICE_EVENTS: tuple[NoticeEvent, ...] = get_args(NoticeEvent)


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """Section [validation]: how far data may move before that is noted, or the run stops.

    Limits are by column: `label`, a column of the data, or one derived from the text
    (`bert_pipeline/data/text_features.py`: text_num_tokens, text_unknown_share, text_truncated, text_script,
    text_empty, text_duplicate). Distances lie between 0 (equal) and 1: L-infinity for categories,
    Jensen-Shannon divergence for numbers, as TensorFlow Data Validation has them
    (https://www.tensorflow.org/tfx/data_validation/get_started#checking_data_skew_and_drift). What is set
    here is put over the defaults of `bert_pipeline/data/drift.py`; a limit of 1 is never passed.
    """

    drift_note: dict[str, Distance] = dataclasses.field(default_factory=dict)
    """Distance of the newest span from the span before, above which the summary notes it."""

    drift_stop: dict[str, Distance] = dataclasses.field(default_factory=dict)
    """The same, above which the run stops before training."""

    skew_note: dict[str, Distance] = dataclasses.field(default_factory=dict)
    """Distance of served texts from the texts of the training, above which it is noted."""

    skew_stop: dict[str, Distance] = dataclasses.field(default_factory=dict)
    """The same, above which the model should be trained again."""


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """One of [[evaluation.gates]]: a bound that a model must keep to be blessed."""

    metric: str
    """Name of a metric, as the summary prints it: accuracy, macro_f1, recall/negative, auc, ..."""

    slice: str = ""
    """Empty: all data; `category=boots`: that slice; `category`: each value of the column."""

    min: float | None = None
    """The metric must be at least this."""

    max: float | None = None
    """The metric must be at most this (for errors: loss, calibration_error)."""

    max_drop: Difference | None = None
    """The metric may lie at most this far (absolute) below the baseline's."""

    max_rise: Difference | None = None
    """The metric may lie at most this far (absolute) above the baseline's (for errors)."""

    min_gain: Difference | None = None
    """The metric must be better than the baseline's by at least this (absolute): higher, or lower for errors
    (loss, calibration_error, expected_cost)."""

    max_gap: Difference | None = None
    """With a column as `slice`: on no value of it may the metric be worse by more than this (absolute) than on
    the rest of the examples."""

    confidence: Annotated[float, Interval(ge=0.5, lt=1)] | None = None
    """From 0.5 to under 1, one-sided: 1 - confidence is the chance that noise alone decides. `max_drop`, `max_rise`
    and `max_gap` refuse a change that is larger than they allow and that chance does not explain, all comparisons of
    the evaluation taken together; unset: 0.95. `min`, `max` and `min_gain` must be kept by the end of the interval
    that this confidence gives; unset: by the measured value."""

    min_examples: Annotated[int, Ge(0)] = 0
    """Slices of fewer examples are not judged, and the summary says so."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Section [evaluation]: what is measured, on which slices, and what refuses a model."""

    slices: tuple[str, ...] = ()
    """Columns by whose values every metric is also reported; `a+b` crosses two columns."""

    gates: tuple[GateConfig, ...] = ()
    """Bounds; a model that breaks one is not blessed."""

    intervals: Literal["on", "none", "jackknife", "bootstrap"] = "on"
    """Whether the summary and the report show 95 % intervals of every metric on every slice: `on` or
    `none`; the others are older names of `on`."""

    costs: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    """What an answer costs: true label to answered label to cost. What is not named costs 0 where right and 1
    where wrong. Any entry adds the metric expected_cost, the mean cost of an example."""

    cost_unit: str = ""
    """Unit of the costs, for the summary."""

    coverage: bool = True
    """Whether each run also says where the eval split is thin, by slice."""


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """Section [serving]: what the pushed model must run on."""

    tf_serving_version: str = ""
    """TensorFlow Serving release whose op list the exported graph is audited against; empty: the newest one known
    that is not newer than the installed TensorFlow (2.16.1 with TFX 1.16, 2.20.0 with TFX 1.21)."""

    num_warmup_requests: Annotated[int, Interval(ge=1, le=1000)] = 8
    """Real requests that the candidate must answer, and that travel with it as warm-up (at most 1000)."""


@dataclasses.dataclass(frozen=True)
class BulkInferenceConfig:
    """Section [bulk_inference]: unlabelled texts to be labelled after each push."""

    files: str = ""
    """File pattern under `data.path`; empty: none."""

    format: Literal["csv", "parquet"] = "csv"
    """Of the table with labels and probabilities: `csv` or `parquet`."""


@dataclasses.dataclass(frozen=True)
class WeakLabelConfig:
    """One of [[monitoring.weak_labels]]: a rule that guesses a label, for texts whose label is not known."""

    pattern: str
    """Regular expression of Python's `re`, looked for anywhere in the text, whatever the case."""

    label: str
    """One of `data.labels`."""


@dataclasses.dataclass(frozen=True)
class MonitoringConfig:
    """Section [monitoring]. Limits of drift are in [validation] (`skew_note`, `skew_stop`)."""

    metric: str = "accuracy"
    """What is compared with the evaluation at the push: accuracy, macro_f1, or recall/<label>."""

    watch_drop: Annotated[float, Interval(ge=0, le=1)] = 0.03
    """Drop (absolute) from which the model is worth a look, overall or on a slice, where chance does not explain it."""

    retrain_drop: Annotated[float, Interval(ge=0, le=1)] = 0.08
    """Drop (absolute) from which it should be trained again: a drop that chance does not explain, and that may be as
    large as this (by its one-sided interval at `confidence`)."""

    confidence: Annotated[float, Interval(ge=0.5, le=0.9999)] = 0.95
    """One-sided: a verdict on traffic in which nothing changed is not fine in at most 1 - confidence of the cases, over
    all slices, the drift notes, and every look at the same version."""

    min_examples: Annotated[int, Ge(2)] = 30
    """Slices of fewer labelled texts, now or in the evaluation at the push, are not judged, nor are all data where
    fewer texts have a label now."""

    min_agreement: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Share of weak labels that the model must agree with; surely under it, the verdict is at least watch. 0: not
    judged."""

    weak_labels: tuple[WeakLabelConfig, ...] = ()
    """Rules; the first that fits a text counts."""


@dataclasses.dataclass(frozen=True)
class NoticesConfig:
    """Section [notices]. Addresses are secrets: here stand the names of the environment variables that hold them."""

    on: tuple[NoticeEvent, ...] = ("refused", "failed", "watch", "retrain")
    """Which events are sent: pushed, unchanged, refused, failed; fine, watch, retrain of `monitor`."""

    webhook_env: str = ""
    """Environment variable with an http(s) address that takes a POST of JSON, such as a Slack webhook; empty: none."""

    email_to: tuple[str, ...] = ()
    """E-mail addresses; empty: no e-mail."""

    email_from: str = ""
    """Sender's address; empty: the first of `email_to`."""

    smtp_env: str = ""
    """Environment variable with smtp://user:password@host:587 or smtps://host:465; percent signs as in any URL."""


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Section [report]: the page and the model card that each run writes."""

    examples: Annotated[int, Ge(0)] = 20
    """At most so many mistakes, and so many disagreements with the model in service, are shown with their text; 0:
    none, for texts that must not be copied."""

    intended_use: str = ""
    """What the model is for and what it is not for, in a sentence or two, for the model card."""

    data_license: str = ""
    """Terms of the data, for the model card."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """A whole task file."""

    # Of pydantic, for every section: no unknown keys, no NaN and no infinity; docstrings are for `settings`.
    __pydantic_config__: ClassVar[dict[str, object]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "use_attribute_docstrings": True,
    }

    name: str
    """Letters, digits and _; names the output folder and the served model."""

    description: str
    """One line for people; each run prints it."""

    data: DataConfig
    validation: ValidationConfig = dataclasses.field(default_factory=ValidationConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    export: ExportConfig = dataclasses.field(default_factory=ExportConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    serving: ServingConfig = dataclasses.field(default_factory=ServingConfig)
    bulk_inference: BulkInferenceConfig = dataclasses.field(default_factory=BulkInferenceConfig)
    monitoring: MonitoringConfig = dataclasses.field(default_factory=MonitoringConfig)
    notices: NoticesConfig = dataclasses.field(default_factory=NoticesConfig)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)


# Modules and notebooks of users may import them from where they were: bert_task, bert_gates and bert_monitoring.
for _former in ("bert_gates", "bert_monitoring"):
    sys.modules.setdefault(_former, sys.modules[__name__])
vars(bert_task).update(
    {name: value for name, value in vars().items() if name.endswith("Config") or name == "NOTICE_EVENTS"}
)
