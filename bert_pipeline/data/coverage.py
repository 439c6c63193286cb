"""Where the evaluation data is thin: slices with too few examples, values it lacks, and kinds of texts it lacks.

Kinds of texts are clusters of sentence vectors. A random split leaves each cluster its share of eval texts; a
cluster with far fewer is something that the model learns and that nobody measures.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import stats

from bert_pipeline.judging.intervals import share_interval

# A slice on which an accuracy of one half is known to no better than this (95 % interval) is called thin: under
# 16 examples. Two such slices of 0.5 and 0.9 could not be told apart.
THIN_HALF_WIDTH = 0.25

# A value that eval lacks is told from this many training examples on.
_MIN_MISSING = 5

# Training texts a cluster has on average, and the chance below which its count of eval texts is no accident.
_TEXTS_PER_CLUSTER = 25
_MAX_CLUSTERS = 60
_CHANCE = 0.01

_NUM_TOLD = 5
_SEED = 13


@dataclasses.dataclass(frozen=True)
class Thin:
    """One place where eval is thin."""

    kind: str
    """`slice` (few eval examples), `missing` (none) or `cluster`."""

    name: str
    """`category=boots`, or the words of a cluster."""

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
        if self.kind == "missing":
            return f"{self.name} has {self.num_train} training examples and none in eval: nothing is measured there"
        return f"texts like {self.name!r}: {self.num_train} in training, {self.num_eval} in eval"


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


def thin_clusters(train: Sequence[str], evaluated: Sequence[str], vectors: np.ndarray) -> list[Thin]:
    """Clusters of texts with far fewer eval texts than the split's share.

    Args:
        train: training texts.
        evaluated: eval texts.
        vectors: float [number of both, hidden]; a sentence vector of each, training first.

    Returns:
        Clusters whose count of eval texts has a chance under 1 % in a random split, the largest first.
    """
    if not train or not evaluated:
        return []
    num_clusters = min(_MAX_CLUSTERS, max(2, len(train) // _TEXTS_PER_CLUSTER))
    assigned = k_means(vectors, num_clusters=num_clusters)
    share = len(evaluated) / len(vectors)
    texts = [*train, *evaluated]
    found = []
    for cluster in range(num_clusters):
        members = np.flatnonzero(assigned == cluster)
        num_eval = int((members >= len(train)).sum())
        if len(members) and chance_of_at_most(num_eval, num_draws=len(members), share=share) < _CHANCE:
            name = distinctive_words([texts[i] for i in members], texts)
            found.append(Thin("cluster", name, len(members) - num_eval, num_eval))
    return sorted(found, key=lambda thin: -thin.num_train)


def chance_of_at_most(count: int, *, num_draws: int, share: float) -> float:
    """Probability that a binomial of `num_draws` and `share` (0 to 1) is at most `count`."""
    return float(stats.binom.cdf(count, num_draws, share))


def k_means(vectors: np.ndarray, *, num_clusters: int, num_rounds: int = 20) -> np.ndarray:
    """Spherical k-means from k-means++ seeds (Arthur and Vassilvitskii 2007), always the same for the same vectors.

    Args:
        vectors: float [num_vectors, hidden].
        num_clusters: at most so many are used.
        num_rounds: of assigning and averaging, if it does not settle before.

    Returns:
        int [num_vectors], the cluster of each.
    """
    random = np.random.default_rng(_SEED)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    centres = unit[[random.integers(len(unit))]]
    while len(centres) < num_clusters:
        distance = np.clip(1 - (unit @ centres.T).max(axis=1), 0, None)
        if distance.sum() < 1e-9:
            break
        centres = np.concatenate([centres, unit[[random.choice(len(unit), p=distance / distance.sum())]]])
    assigned = np.full(len(unit), -1)
    for _ in range(num_rounds):
        nearest = (unit @ centres.T).argmax(axis=1)
        if (nearest == assigned).all():
            break
        assigned = nearest
        for cluster in np.unique(assigned):
            mean = unit[assigned == cluster].mean(axis=0)
            centres[cluster] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return assigned


def distinctive_words(members: Sequence[str], texts: Sequence[str], *, num_words: int = 3) -> str:
    """The words that are in many of the `members` and in few of the other `texts`."""
    here, everywhere = _document_counts(members), _document_counts(texts)
    scores = {
        word: count / len(members) * math.log(len(texts) / everywhere[word]) for word, count in here.items()
    }
    return " ".join(sorted(scores, key=lambda word: (-scores[word], word))[:num_words])


def _document_counts(texts: Sequence[str]) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(set(re.findall(r"\w{3,}", text.lower())))
    return counts


def sentences(found: Sequence[Thin]) -> Iterator[str]:
    """The first of each kind, and how many more there are."""
    for kind, plural in (("missing", "values"), ("slice", "slices"), ("cluster", "kinds of texts")):
        of_kind = [thin for thin in found if thin.kind == kind]
        yield from (thin.sentence() for thin in of_kind[:_NUM_TOLD])
        if len(of_kind) > _NUM_TOLD:
            yield f"and {len(of_kind) - _NUM_TOLD} more {plural}"
