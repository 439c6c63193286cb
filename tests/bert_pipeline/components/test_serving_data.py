"""Served texts beside the training's: what may be missing, and what moved."""

from __future__ import annotations

import pytest
import tensorflow_data_validation as tfdv

from bert_pipeline.components.schema import SERVING, TRAINING
from bert_pipeline.components.serving_validator import check_served
from bert_pipeline.data.drift import Threshold
from bert_pipeline.data.text_features import TextFeatures, statistics_of

NUM_TEXTS = 200
ENGLISH = [b"the fit is good %d" % i for i in range(NUM_TEXTS)]
RUSSIAN = ["\u0434\u0430 %d".encode() % i for i in range(NUM_TEXTS)]


@pytest.fixture(scope="module")
def features(tiny_encoder) -> TextFeatures:
    return TextFeatures(
        vocab_path=tiny_encoder.vocab_path, lower_case=tiny_encoder.lower_case, max_seq_length=32
    )


@pytest.fixture(scope="module")
def check(features):
    training = {"text": ENGLISH, "label": [b"a", b"b"] * 100, "part": [b"sole", b"heel"] * 100}
    schema = tfdv.infer_schema(statistics_of(training))
    schema.default_environment.extend([TRAINING, SERVING])
    tfdv.get_feature(schema, "label").not_in_environment.append(SERVING)
    tfdv.get_feature(schema, "text").ClearField("domain_info")
    statistics = statistics_of({**training, **features.columns([ENGLISH])})

    def check(**columns):
        return check_served(
            columns,
            text=["text"],
            features=features,
            schema=schema,
            training=statistics,
            limits={"text_script": Threshold(note=0.05, stop=0.3)},
        )

    return check


def test_texts_alone_are_enough_in_service(check):
    assert check(text=ENGLISH) == []


def test_another_script_is_told(check):
    assert check(text=RUSSIAN) == [
        "served texts are not those of the training: text_script: L-infinity 1.000 (limit 0.3); 'latin' went from "
        "100.0% to 0.0%, on 200 after 200; train on newer data"
    ]
    mixed = check(text=RUSSIAN[:40] + ENGLISH[:160])
    assert mixed == [
        "served texts moved: text_script: L-infinity 0.200 (limit 0.05); 'latin' went from 100.0% to 80.0%, on 200 "
        "after 200"
    ]


def test_a_value_that_the_schema_does_not_know_is_told(check):
    assert check(text=ENGLISH, part=[b"lace"] * NUM_TEXTS) == [
        "served texts, column part: Examples contain values missing from the schema: lace (~100%)."
    ]


def test_no_text_is_nothing_to_tell(check):
    assert check(text=[]) == []
