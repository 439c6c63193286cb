"""How often gates, monitor and drift are wrong, and what they see: by simulation, through the functions of a run.

    python -m tests.error_rates                  # `make error-rates`: the table; 1 where a rate leaves its band
    python -m tests.error_rates --draws 200      # quicker and coarser

Two models answer the same examples. Where nothing changed they are equally good, right on 80 % of the examples, and
one of them alone is right on 15 %; a label is rare (5 %). A refusal or an alarm is then wrong, and may happen in at
most 5 % of the verdicts, whatever the number of slices. Then the candidate gets worse by what the verdict itself says
it would have seen four times in five, and is judged again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import stats

from bert_pipeline.evaluation.slices import SliceMetrics
from bert_pipeline.judging import comparisons, gates
from bert_pipeline.judging.answers import Answers
from bert_pipeline.monitoring import verdict as live
from bert_pipeline.settings import metric_names
from bert_pipeline.settings.sections import GateConfig, MonitoringConfig

LABELS = ("negative", "neutral", "rare")
LABEL_SHARES = (0.55, 0.40, 0.05)
ACCURACY = 0.8
# Share of the examples on which the two models differ: one is right and the other is not.
DIFFERENT = 0.15
SIZES = (50, 190, 500, 2000)
SLICES = (1, 5, 15)
BAND = 0.05
# A rate is outside its band where its own sampling does not explain it: once in a thousand runs of this by chance.
_SURE = 1e-3
COSTS = {"negative": {"neutral": 5.0}}

KINDS: dict[str, dict[str, float]] = {
    "accuracy": {"max_drop": 0.02},
    "macro_f1": {"max_drop": 0.02},
    "recall/rare": {"max_drop": 0.05},
    "precision/rare": {"max_drop": 0.05},
    "expected_cost": {"max_rise": 0.05},
    "loss": {"max_rise": 0.05},
    "auc": {"max_drop": 0.02},
    "calibration_error": {"max_rise": 0.02},
}
GAPS = ("accuracy", "macro_f1", "recall/negative", "loss")


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    num_examples: int
    num_slices: int
    gates: tuple[GateConfig, ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of it."""

    name: str
    sizes: str
    rate: float
    """Refused or alarmed where nothing changed."""

    band: float
    is_inside: bool
    seen: str = ""
    """What it sees."""


def draw(generator: np.random.Generator, *, num_examples: int, num_slices: int, drop: float = 0.0) -> Answers:
    """Answers of two models; the candidate's accuracy is lower by `drop`."""
    ids = generator.choice(len(LABELS), num_examples, p=LABEL_SHARES)
    chance = generator.random(num_examples)
    different = max(DIFFERENT, drop)
    lost = (different + drop) / 2
    both = ACCURACY - lost
    old = chance < both + lost
    new = (chance < both) | ((chance >= both + lost) & (chance < both + different))
    columns = {}
    if num_slices > 1:
        values = generator.integers(num_slices, size=num_examples)
        columns["part"] = np.array([f"p{value:02}" for value in values], dtype=object)
    return Answers(
        LABELS, ids, _probabilities(generator, ids, new), _probabilities(generator, ids, old), columns
    )


def _probabilities(generator: np.random.Generator, ids: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Float [num_examples, num_labels]: a confident model, now and then surely wrong."""
    count = len(ids)
    wrong = (ids + 1 + generator.integers(len(LABELS) - 1, size=count)) % len(LABELS)
    sure = 1 / (1 + np.exp(-generator.normal(1.5, 1.0, count)))
    top = 0.5 + sure / 2
    found = np.repeat((1 - top)[:, np.newaxis] / (len(LABELS) - 1), len(LABELS), axis=1)
    found[np.arange(count), np.where(right, ids, wrong)] = top
    return found


def cases() -> Iterator[Case]:
    """Every kind of gate at every size, on all data, and on all data and 15 slices; and several gates together."""
    for size in SIZES:
        for num_slices in SLICES:
            on = "part" if num_slices > 1 else ""
            if num_slices != 5:
                for metric, bound in KINDS.items():
                    found = [GateConfig(metric, **bound)]
                    found += [GateConfig(metric, slice=on, **bound)] if on else []
                    yield Case(f"{metric} {next(iter(bound))}", size, num_slices, tuple(found))
            if on:
                several = (
                    GateConfig(metric_names.ACCURACY, max_drop=0.02),
                    GateConfig(metric_names.MACRO_F1, max_drop=0.02),
                    GateConfig(metric_names.ACCURACY, slice=on, max_drop=0.05),
                    GateConfig(metric_names.ACCURACY, slice=on, max_gap=0.1),
                    GateConfig("recall/rare", max_drop=0.05),
                )
                yield Case("five gates together", size, num_slices, several)
                for metric in GAPS:
                    gate = GateConfig(metric, slice=on, max_gap=0.05)
                    yield Case(f"{metric} max_gap", size, num_slices, (gate,))


def smallest_seen(answers: Answers, *, terms: gates.Terms) -> float:
    """The smallest change for the worse, of the first comparison of a verdict, that it sees four times in five."""
    judge = gates.Judge(answers, terms=terms)
    found = [each for gate in terms.gates for row in judge.rows(gate) for each in judge.changes(gate, row)]
    share = comparisons.weights_of(found)[0] / sum(comparisons.weights_of(found))
    return comparisons.smallest_seen(found[0], found[0].alpha * share)


def judge_case(case: Case, *, draws: int) -> Row:
    """Refusals of an equal model, and of one that is worse by what the verdict says it sees."""
    terms = gates.Terms(LABELS, COSTS, case.gates, slices=("part",) if case.num_slices > 1 else ())
    seed = sum(map(ord, case.name)) + 1000 * case.num_examples + case.num_slices

    def refused(drop: float, count: int) -> int:
        generator = np.random.default_rng([seed, round(drop * 1e6)])
        return sum(
            bool(
                gates.judge(
                    draw(generator, num_examples=case.num_examples, num_slices=case.num_slices, drop=drop),
                    terms=terms,
                ).refusals
            )
            for _ in range(count)
        )

    wrong = refused(0.0, draws)
    seen = ""
    if case.name == "accuracy max_drop" and case.num_slices == 1:
        generator = np.random.default_rng(seed)
        smallest = [
            smallest_seen(draw(generator, num_examples=case.num_examples, num_slices=1), terms=terms)
            for _ in range(50)
        ]
        drop = float(np.median(smallest))
        seen = f"a drop of {drop:.3f}: {refused(drop, draws) / draws:.0%}"
    return Row(
        case.name,
        f"{case.num_examples} examples, {case.num_slices} slices",
        wrong / draws,
        BAND,
        stats.binom.sf(wrong - 1, draws, BAND) > _SURE,
        seen,
    )


# The slices of the README's sample: examples in an evaluation of 201.
README_SLICES = (24, 22, 22, 20, 19, 18, 18, 15, 14, 12, 9, 6, 2)


def _rows(generator: np.random.Generator, count: int, accuracy: float) -> list[SliceMetrics]:
    """All data and the README's slices, each example in one of them."""
    shares = np.array(README_SLICES) / sum(README_SLICES)
    parts = generator.multinomial(count, shares)
    right = generator.binomial(parts, accuracy)
    rows = [_row("", int(right.sum()), count)]
    for i, (hits, total) in enumerate(zip(right, parts, strict=True)):
        rows += [_row(f"part={i}", int(hits), int(total))] if total else []
    return rows


def _row(name: str, hits: int, total: int) -> SliceMetrics:
    table = ((hits, total - hits, 0), (0, 0, 0), (0, 0, 0))
    columns = ("part",) if name else ()
    return SliceMetrics(name, columns, total, {metric_names.ACCURACY: hits / total}, {}, table, labels=LABELS)


def _levels(draws: int, *, now: float, num_live: int, num_before: int, looks: int = 1) -> np.ndarray:
    """int [draws]: the most urgent level of the looks, each at more of the same traffic."""
    generator = np.random.default_rng([num_live, num_before, looks, round(now * 1000)])
    config, found = MonitoringConfig(), []
    for _ in range(draws):
        before, level = _rows(generator, num_before, ACCURACY), live.Level.FINE
        total: dict[str, np.ndarray] = {}
        for look in range(1, looks + 1):
            for row in _rows(generator, num_live, now):
                total[row.slice] = total.get(row.slice, 0) + np.array([row.confusion[0][0], row.num_examples])
            rows = [_row(name, int(hits), int(count)) for name, (hits, count) in total.items()]
            changes = live.changes(rows, before, metric=metric_names.ACCURACY, labels=LABELS)
            level = max(level, live.judge(changes, drifts=(), agreements=(), config=config, look=look).level)
        found.append(level)
    return np.array(found)


def judge_monitor(draws: int) -> Iterator[Callable[[], Row]]:
    """Quiet weeks, a month of quiet days, and weeks in which accuracy fell by 10 points."""
    for before in (201, 500, 1000):
        for live_texts in (200, 500, 2000):
            yield functools.partial(_monitor_row, draws, before, live_texts, 1)
    yield functools.partial(_monitor_row, draws // 4, 500, 100, 30)
    for before in (250, 500, 1000):
        yield functools.partial(_monitor_power, draws, before)


def _monitor_row(draws: int, before: int, live_texts: int, looks: int) -> Row:
    levels = _levels(draws, now=ACCURACY, num_live=live_texts, num_before=before, looks=looks)
    wrong = int((levels > live.Level.FINE).sum())
    sizes = f"{live_texts} texts, {before} at the push" + (f", {looks} daily looks" if looks > 1 else "")
    return Row("monitor, quiet", sizes, wrong / draws, BAND, stats.binom.sf(wrong - 1, draws, BAND) > _SURE)


def _monitor_power(draws: int, before: int) -> Row:
    levels = _levels(draws, now=ACCURACY - 0.1, num_live=500, num_before=before)
    missed = int((levels < live.Level.RETRAIN).sum())
    inside = bool(stats.binom.sf(missed - 1, draws, 0.2) > _SURE)
    name, sizes = "monitor, 10 points lost, no RETRAIN", f"500 texts, {before} at the push"
    return Row(name, sizes, missed / draws, 0.2, inside, f"RETRAIN in {1 - missed / draws:.1%}")


def judge_drift(draws: int) -> list[Row]:
    """Quiet comparisons of statistics."""
    from tests import error_rates_drift  # TFDV

    found = error_rates_drift.rows(draws)
    return [
        Row("drift, quiet", name.removeprefix("drift: "), rate, BAND, rate <= band, text)
        for name, rate, band, text in found
    ]


def _call(task: Callable[[], Row | list[Row]]) -> list[Row]:
    found = task()
    return found if isinstance(found, list) else [found]


def rows(draws: int, *, wanted: str = "") -> Iterator[Row]:
    """Every line of the table, in two processes."""
    named: list[tuple[str, Callable[[], Row | list[Row]]]] = [
        ("monitor", task) for task in judge_monitor(draws)
    ]
    named.append(("drift", functools.partial(judge_drift, draws)))
    named += [(case.name, functools.partial(judge_case, case, draws=draws)) for case in cases()]
    tasks = [task for name, task in named if name.startswith(wanted)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for found in pool.imap(_call, tasks):
            yield from found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table.

    Returns:
        1 where a rate lies outside its band, else 0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=2000, help="verdicts of each line")
    parser.add_argument("--only", default="", help="lines whose name starts so")
    flags = parser.parse_args(arguments)
    started, outside = time.monotonic(), 0
    worst: dict[str, list[float]] = {}
    print(f"{'what':<36}{'of':<44}{'rate':>8}{'band':>7}  sees", flush=True)
    for row in rows(flags.draws, wanted=flags.only):
        outside += not row.is_inside
        worst.setdefault(row.name, []).append(row.rate)
        mark = "" if row.is_inside else "  OUTSIDE ITS BAND"
        print(f"{row.name:<36}{row.sizes:<44}{row.rate:>8.2%}{row.band:>7.0%}  {row.seen}{mark}", flush=True)
    print("\nthe highest rate of each kind:")
    for name, found in worst.items():
        print(f"{name:<36}{len(found):>4} sizes{max(found):>8.1%}")
    print(f"{outside} outside their bands; {flags.draws} verdicts a line, {time.monotonic() - started:.0f} s")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
