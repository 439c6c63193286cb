"""Where eval is thin, by count."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from bert_pipeline.components import coverage
from bert_pipeline.components.coverage import Thin, count_slices, read_report


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
    found.append(Thin("missing", "c=clogs", 12, 0))

    told = list(coverage.sentences(found))

    assert told[0] == "c=clogs has 12 training examples and none in eval: nothing is measured there"
    assert told[1] == "c=0 has 4 eval examples: an accuracy there is known to ±0.35"
    assert told[6:] == ["and 2 more slices"]


def test_a_report_of_before_is_read_without_the_clusters_of_texts_that_it_holds(tmp_path: Path) -> None:
    thin = {"kind": "slice", "name": "c=a", "num_train": 9, "num_eval": 3}
    cluster = {"kind": "cluster", "name": "lido slide pool", "num_train": 31, "num_eval": 0}
    (tmp_path / "coverage.json").write_text(json.dumps([thin, cluster]))
    assert read_report(str(tmp_path)) == [Thin("slice", "c=a", 9, 3)]


def test_slices_are_counted_under_the_evaluators_names() -> None:
    def example(**values) -> tf.train.Example:
        features = {
            name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
            if isinstance(value, int)
            else tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()] if value else []))
            for name, value in values.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=features))

    examples = [
        example(channel="web", stars=5),
        example(channel="web", stars=4),
        example(channel="", stars=5),
    ]

    assert count_slices(examples, ["channel", "stars+channel"]) == {
        "channel=web": 2,
        "channel=web+stars=5": 1,
        "channel=web+stars=4": 1,
    }
