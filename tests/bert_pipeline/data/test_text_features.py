"""What is derived from a text, with the tiny vocabulary: literal values."""

from __future__ import annotations

import pytest

from bert_pipeline.data import text_features


@pytest.fixture(scope="module")
def features(tiny_encoder) -> text_features.TextFeatures:
    return text_features.TextFeatures(
        vocab_path=tiny_encoder.vocab_path, lower_case=tiny_encoder.lower_case, max_seq_length=6
    )


def test_tokens_are_counted_before_they_are_cut(features):
    columns = features.columns([[b"", b"good", b"good good good good", b"good good good good good"]])
    assert columns["text_num_tokens"] == [2, 3, 6, 7]
    assert columns["text_truncated"] == [b"no", b"no", b"no", b"yes"]


def test_unknown_tokens_are_a_share_of_the_texts_own(features):
    columns = features.columns([["good \u1234 good \u1234".encode(), b"good", b""]])
    assert columns["text_unknown_share"] == [0.5, 0.0, 0.0]


def test_a_pair_is_one_example(features):
    columns = features.columns([[b"good", b" "], [b"good good", b"good"]])
    assert columns["text_num_tokens"] == [6, 4]
    assert columns["text_empty"] == [b"no", b"yes"]


def test_duplicates_are_found_through_case_and_white_space_and_the_first_is_none(features):
    columns = features.columns([[b"Good shoes", b"good  shoes ", b"good shoe"]])
    assert columns["text_duplicate"] == [b"no", b"yes", b"no"]


def test_more_texts_than_a_batch_stay_in_order(features):
    texts = [b"good " * (i % 3) for i in range(2500)]
    assert features.columns([texts])["text_num_tokens"] == [2 + i % 3 for i in range(2500)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("These boots leak 3 times!", "latin"),
        ("Туфли протекают", "cyrillic"),
        ("靴が漏れる", "mixed"),
        ("鞋子漏水", "cjk"),
        ("Туфли and boots", "mixed"),
        ("12 :-) 🙂", "none"),
        ("", "none"),
    ],
)
def test_script_is_that_of_most_letters(text, expected):
    assert text_features.script(text) == expected


def test_text_that_is_not_utf8_is_counted_all_the_same(features):
    columns = features.columns([[b"good \xff\xfe"]])
    assert (columns["text_num_tokens"], columns["text_script"]) == ([3], [b"latin"])
