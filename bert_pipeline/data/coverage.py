"""Where the evaluation data is thin: slices with too few examples, and values of a slice that it lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from bert_pipeline.judging.intervals import share_interval

# A slice on which an accuracy of one half is known to no better than this (95 % interval) is called thin: under
# 16 examples. Two such slices of 0.5 and 0.9 could not be told apart.
THIN_HALF_WIDTH = 0.25

# A value that eval lacks is told from this many training examples on.
_MIN_MISSING = 5

_NUM_TOLD = 5

# What is told of, the gravest first, and the plural of it.
KINDS = {"missing": "values", "slice": "slices"}


@dataclasses.dataclass(frozen=True)
class Thin:
    """One place where eval is thin."""

    kind: str
    """`slice` (few eval examples) or `missing` (none)."""

    name: str
    """`category=boots`."""

    num_train: int
    num_eval: int

    def sentence(self) -> str:
        """What the summary says.

        Example:
            >>> Thin("slice", "channel=phone", 35, 7).sentence()
            'channel=phone has 7 eval examples: an accuracy there is known to ±0.37'
        """
        if self.kind == "slice":
            examples = "example" if self.num_eval == 1 else "examples"
            width = half_width(self.num_eval)
            return (
                f"{self.name} has {self.num_eval} eval {examples}: an accuracy there is known to ±{width:.2f}"
            )
        return (
            f"{self.name} has {self.num_train} training examples and none in eval: nothing is measured there"
        )


def half_width(num_examples: int) -> float:
    """Half of the 95 % interval of an accuracy of one half over so many examples."""
    return share_interval(num_examples / 2, num_examples).half_width


def thin_slices(
    train: Mapping[str, int], evaluated: Mapping[str, int], *, max_half_width: float = THIN_HALF_WIDTH
) -> list[Thin]:
    """Slices that eval lacks or has too few examples of, the largest in training first.

    Args:
        train: training examples by slice, `category=boots`.
        evaluated: eval examples alike.
        max_half_width: see THIN_HALF_WIDTH.
    """
    missing = [
        Thin("missing", name, count, 0)
        for name, count in train.items()
        if name not in evaluated and count >= _MIN_MISSING
    ]
    few = [
        Thin("slice", name, train.get(name, 0), count)
        for name, count in evaluated.items()
        if half_width(count) > max_half_width
    ]
    return sorted([*missing, *few], key=lambda thin: (-thin.num_train, thin.name))


def sentences(found: Sequence[Thin]) -> Iterator[str]:
    """The first of each kind, and how many more there are."""
    for kind, plural in KINDS.items():
        of_kind = [thin for thin in found if thin.kind == kind]
        yield from (thin.sentence() for thin in of_kind[:_NUM_TOLD])
        if len(of_kind) > _NUM_TOLD:
            yield f"and {len(of_kind) - _NUM_TOLD} more {plural}"
