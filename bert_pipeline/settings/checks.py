"""What the values of a task file may be beside each other, and what no type can say."""

from __future__ import annotations

import re
from typing import Any

import bert_task

from bert_pipeline.settings import metric_names, sections
from bert_pipeline.settings.errors import UserError, did_you_mean

BOUNDS = ("min", "max", "max_drop", "max_rise", "min_gain", "max_gap")

# How far over 1/num_labels a task without gates wants macro_f1: three standard errors of an accuracy of one half
# over 1,000 examples (sqrt(0.25 / 1000) = 0.016).
_DEFAULT_MARGIN = 0.05


def gates_of(task: sections.TaskConfig) -> tuple[sections.GateConfig, ...]:
    """The gates of a task; where it names none, the default ones.

    The defaults: macro_f1 clearly above 1/num_labels, which a model that answers one label only cannot pass (its F1 is
    at most 1 for that label and 0 for the rest), and accuracy at most 0.02 below the baseline's.
    """
    if task.evaluation.gates:
        return task.evaluation.gates
    floor = round(1 / len(task.data.labels) + _DEFAULT_MARGIN, 4)
    return (
        sections.GateConfig(metric=metric_names.MACRO_F1, min=floor),
        sections.GateConfig(metric=metric_names.ACCURACY, max_drop=0.02),
    )


def check_evaluation(task: sections.TaskConfig) -> None:
    """Refuses values that make no sense.

    Raises:
        UserError: names the key, the value and the fix.
    """
    evaluation = task.evaluation
    _check_costs(task)
    for i, gate in enumerate(evaluation.gates):
        key = f"evaluation.gates[{i}]"
        if all(getattr(gate, name) is None for name in BOUNDS):
            raise UserError(
                f"{key} ({gate.metric}) has no bound and can refuse nothing; "
                f"give {', '.join(BOUNDS[:-1])} or {BOUNDS[-1]}"
            )
        column, equals, value = gate.slice.partition("=")
        crossed = re.match(r"[^+=]*\+([^+=]+)=", value)
        both = [
            name for name in evaluation.slices if crossed and set(name.split("+")) == {column, crossed[1]}
        ]
        if equals and both:
            raise UserError(
                f"{key}.slice is {gate.slice!r}, one value of two columns crossed, which no gate can bound; give "
                f"{both[0]!r}, which bounds each of their values, or one column's value such as "
                f"{column + '=' + value.split('+')[0]!r}"
            )
        if column and column not in evaluation.slices:
            raise UserError(
                f"{key}.slice is {gate.slice!r}, but {column!r} is not in evaluation.slices "
                f"{list(evaluation.slices)}; add it there"
            )
        _check_bounds(gate, key=key)
        _check_comparison(gate, key=key, is_column=bool(column) and not equals)


# Metrics that lie between 0 and 1; all others have no upper end.
_SHARES = ("accuracy", "macro_f1", "auc", "calibration_error")


def _check_bounds(gate: sections.GateConfig, *, key: str) -> None:
    """Refuses bounds that no value can reach or break."""
    is_share = gate.metric in _SHARES or gate.metric.startswith(("precision/", "recall/"))
    for name in BOUNDS:
        bound = getattr(gate, name)
        if bound is None:
            continue
        if is_share and not 0 <= bound <= 1:
            raise UserError(
                f"{key}.{name} is {bound:g}, and {gate.metric} lies from 0 to 1; no model could hold it"
            )


def _check_comparison(gate: sections.GateConfig, *, key: str, is_column: bool) -> None:
    if gate.max_gap is not None and not is_column:
        raise UserError(
            f"{key}.max_gap compares the values of a column, and {key}.slice is {gate.slice!r}; name a column"
        )
    if gate.max_gap is not None and gate.metric == metric_names.EXAMPLE_COUNT:
        raise UserError(
            f"{key}.max_gap cannot compare example_count, a number of examples; name another metric"
        )
    if gate.min_examples and not gate.slice:
        raise UserError(
            f"{key}.min_examples is {gate.min_examples}, which needs a slice; its slice is {gate.slice!r}"
        )


def _check_costs(task: sections.TaskConfig) -> None:
    labels = task.data.labels
    for actual, row in task.evaluation.costs.items():
        for label, key in [
            (actual, f"evaluation.costs.{actual}"),
            *((answered, f"evaluation.costs.{actual}.{answered}") for answered in row),
        ]:
            if label not in labels:
                raise UserError(f"{key}: {label!r} is not in data.labels; {did_you_mean(label, labels)}")
    if task.evaluation.cost_unit and not task.evaluation.costs:
        raise UserError(
            f"evaluation.cost_unit is {task.evaluation.cost_unit!r}, and no answer has a cost; "
            "add a table [evaluation.costs]"
        )


def check_task(task: sections.TaskConfig) -> None:
    """Refuses values that fit their type and make no sense.

    Raises:
        UserError: names the key, the value and the fix.
    """
    check_name(task.name)
    _check_data(task.data)
    _check_training(task.training)
    check_evaluation(task)
    _check_monitoring(task)
    _check_notices(task.notices)


def _check_training(training: bert_task.TrainingConfig) -> None:
    if training.early_stopping_patience and not training.held_out_share:
        raise UserError(
            f"training.early_stopping_patience is {training.early_stopping_patience}, and training.held_out_share is "
            "0: nothing is held out that could tell when to stop; set the share to 0.1 or so, or the patience to 0"
        )


def _check_monitoring(task: sections.TaskConfig) -> None:
    kind, _, label = task.monitoring.metric.partition("/")
    if task.monitoring.metric not in ("accuracy", "macro_f1") and not (
        kind == "recall" and label in task.data.labels
    ):
        raise UserError(
            f"monitoring.metric is {task.monitoring.metric!r}; it must be accuracy, macro_f1, or recall/ and one of "
            f"data.labels {list(task.data.labels)}"
        )
    for i, rule in enumerate(task.monitoring.weak_labels):
        key = f"monitoring.weak_labels[{i}]"
        if rule.label not in task.data.labels:
            raise UserError(f"{key}.label is {rule.label!r}, not one of data.labels {list(task.data.labels)}")
        try:
            re.compile(rule.pattern)
        except re.error as error:
            raise UserError(f"{key}.pattern is {rule.pattern!r}, no regular expression: {error}") from None


def _check_notices(notices: sections.NoticesConfig) -> None:
    for key in ("webhook_env", "smtp_env"):
        value = getattr(notices, key)
        if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            # The value may be the secret itself: it is not shown.
            raise UserError(
                f"notices.{key} must be the name of an environment variable that holds the address, such as "
                f"SLACK_WEBHOOK; what stands there is none. An address in a committed file is no secret any more"
            )
    for key, addresses in (("email_to", notices.email_to), ("email_from", (notices.email_from,))):
        for address in filter(None, addresses):
            if not re.fullmatch(r"[^\s@,<>]+@[^\s@,<>]+", address):
                raise UserError(f"notices.{key} has {address!r}; it must be of the form name@host")
    if notices.email_to and not notices.smtp_env:
        raise UserError(
            "notices.smtp_env is empty, and notices.email_to is not; name the environment variable that holds "
            "smtp://user:password@host:587"
        )


def check_name(name: Any) -> None:
    """Refuses a task's name that could not be a folder and a model name in TensorFlow Serving's paths.

    The length leaves room for what is put behind it in file names and in names of ML Metadata (255 each).

    Raises:
        UserError: names it.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", name):
        raise UserError(f"name is {name!r}; use letters, digits and _, at most 100, and begin with a letter")


def _check_data(data: bert_task.DataConfig) -> None:
    if not 1 <= len(data.text) <= 2:
        raise UserError(
            f"data.text names {len(data.text)} columns {list(data.text)}; name one, or two for a pair"
        )
    if len(set(data.labels)) != len(data.labels) or len(data.labels) < 2:
        raise UserError(f"data.labels is {list(data.labels)}; name at least two labels, each once")
    if set(data.files) not in ({"all"}, {"train", "eval"}):
        raise UserError(
            f"data.files has the splits {sorted(data.files)}; it must have train and eval, "
            "or all (which is then split by hash)"
        )
    if set(data.hash_buckets) != {"train", "eval"} or min(data.hash_buckets.values()) < 1:
        raise UserError(
            f"data.hash_buckets is {data.hash_buckets}; give train and eval at least one bucket each"
        )
    unknown = set(data.label_shares) - set(data.labels)
    if unknown:
        raise UserError(f"data.label_shares.{min(unknown)} is not one of data.labels {list(data.labels)}")
    columns = [*data.text, data.label]
    if len(set(columns)) != len(columns):
        raise UserError(f"data.text {list(data.text)} and data.label {data.label!r} name a column twice")
