"""Where eval is thin: by count, and by the neighbourhood of sentence vectors."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bert_pipeline.components.coverage import count_slices
from bert_pipeline.data import coverage
from bert_pipeline.data.coverage import Thin


def test_a_slice_is_thin_under_twelve_examples_and_missing_without_any() -> None:
    train = {"c=boots": 90, "c=sandals": 40, "c=clogs": 12, "c=typo": 1, "c=running": 60}
    evaluated = {"c=boots": 12, "c=sandals": 4, "c=running": 11}

    assert coverage.thin_slices(train, evaluated) == [
        Thin("slice", "c=running", 60, 11),
        Thin("slice", "c=sandals", 40, 4),
        Thin("missing", "c=clogs", 12, 0),
    ]


def test_each_finding_is_told_in_a_sentence_and_the_rest_is_counted() -> None:
    found = [Thin("slice", f"c={i}", 10, 4) for i in range(7)]
    found += [Thin("missing", "c=clogs", 12, 0), Thin("cluster", "lido slide pool", 31, 0)]

    told = list(coverage.sentences(found))

    assert told[0] == "c=clogs has 12 training examples and none in eval: nothing is measured there"
    assert told[1] == "c=0 has 4 eval examples: an accuracy there is known to ±0.35"
    assert told[6:] == ["and 2 more slices", "texts like 'lido slide pool': 31 in training, 0 in eval"]


def _texts(kind: str, count: int) -> list[str]:
    return [f"{kind} shoes number {i}" for i in range(count)]


@pytest.fixture(scope="module")
def vectors_of():
    """Sentence vectors by the first word: three directions, with a little noise."""
    random = np.random.default_rng(3)
    directions = {"office": [1.0, 0, 0], "trail": [0, 1.0, 0], "lido": [0, 0, 1.0]}

    def vectors(texts: list[str]) -> np.ndarray:
        return np.array([directions[text.split()[0]] for text in texts]) + random.normal(
            scale=0.05, size=[len(texts), 3]
        )

    return vectors


def test_a_kind_of_text_that_eval_lacks_is_named_by_its_words(vectors_of) -> None:
    train = _texts("office", 30) + _texts("trail", 30) + _texts("lido", 31)
    evaluated = _texts("office", 10) + _texts("trail", 10)

    found = coverage.thin_clusters(train, evaluated, vectors_of([*train, *evaluated]))

    assert [(thin.kind, thin.num_train, thin.num_eval) for thin in found] == [("cluster", 31, 0)]
    assert found[0].name.split()[0] == "lido"


def test_a_split_that_has_its_share_of_every_kind_is_not_thin(vectors_of) -> None:
    train = _texts("office", 30) + _texts("trail", 30) + _texts("lido", 31)
    evaluated = _texts("office", 10) + _texts("trail", 10) + _texts("lido", 8)

    assert coverage.thin_clusters(train, evaluated, vectors_of([*train, *evaluated])) == []


def test_equal_vectors_and_an_empty_split_are_survived() -> None:
    assert coverage.k_means(np.ones([5, 2]), num_clusters=3).tolist() == [0] * 5
    assert coverage.thin_clusters(["a b c"], [], np.ones([1, 2])) == []


@pytest.mark.parametrize(
    ("count", "num_draws", "share", "expected"),
    [(0, 2, 0.5, 0.25), (1, 2, 0.5, 0.75), (0, 31, 0.18, 0.0021293)],
)
def test_the_chance_is_the_binomials(count: int, num_draws: int, share: float, expected: float) -> None:
    assert coverage.chance_of_at_most(count, num_draws=num_draws, share=share) == pytest.approx(
        expected, abs=1e-5
    )


def test_slices_are_counted_under_the_evaluators_names() -> None:
    def example(**values) -> bytes:
        features = {
            name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
            if isinstance(value, int)
            else tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()] if value else []))
            for name, value in values.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    records = [example(channel="web", stars=5), example(channel="web", stars=4), example(channel="", stars=5)]

    assert count_slices(records, ["channel", "stars+channel"]) == {
        "channel=web": 2,
        "channel=web+stars=5": 1,
        "channel=web+stars=4": 1,
    }
