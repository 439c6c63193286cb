"""The names of the metrics, as summaries print them and gates use them."""

from __future__ import annotations

from collections.abc import Iterable

EXAMPLE_COUNT = "example_count"


ACCURACY = "accuracy"


MACRO_F1 = "macro_f1"


AUC = "auc"


CALIBRATION_ERROR = "calibration_error"


LOSS = "loss"


EXPECTED_COST = "expected_cost"


LOWER_IS_BETTER = (CALIBRATION_ERROR, LOSS, EXPECTED_COST)


def per_label(kind: str, label: str) -> str:
    """Name of a label's own metric.

    Example:
        >>> per_label("recall", "negative")
        'recall/negative'
    """
    return f"{kind}/{label}"


def metric_names(labels: Iterable[str], *, with_cost: bool = False) -> list[str]:
    """Every metric that can be printed and gated, in the order of a summary.

    Args:
        labels: names of the labels.
        with_cost: whether the task says what a wrong answer costs.
    """
    labels = list(labels)
    return [
        EXAMPLE_COUNT,
        ACCURACY,
        MACRO_F1,
        AUC,
        CALIBRATION_ERROR,
        LOSS,
        *([EXPECTED_COST] if with_cost else []),
        *(per_label("precision", label) for label in labels),
        *(per_label("recall", label) for label in labels),
    ]
