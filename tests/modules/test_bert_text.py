"""bert_text: literal ids of small texts, wherever the ops run, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bert_text
import pytest
import tensorflow as tf

# Their ids are 0, 1, 2, ...
TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "good",
    "##ish",
    "shoes",
    "!",
    "σοσ",
    "i",
    "鞋",
    "Good",
    "a",
    "##a",
]


def vocabulary(
    folder: Path, *, lower_case: bool = True, text: str = "\n".join(TOKENS) + "\n"
) -> bert_text.Vocabulary:
    path = folder / "vocab.txt"
    path.write_bytes(text.encode("utf-8"))
    return bert_text.load_vocabulary(str(path), lower_case=lower_case)


def word_ids(texts: list[str], vocab: bert_text.Vocabulary, *, max_seq_length: int = 512) -> list[list[int]]:
    encoded = bert_text.encode([tf.constant(texts)], vocab=vocab, max_seq_length=max_seq_length)
    return encoded["input_word_ids"].to_list()


def test_a_text_becomes_cls_pieces_sep(tmp_path: Path) -> None:
    vocab = vocabulary(tmp_path)
    encoded = bert_text.encode([tf.constant(["Goodish shoes!", "鞋x鞋"])], vocab=vocab, max_seq_length=16)
    assert encoded["input_word_ids"].to_list() == [[2, 4, 5, 6, 7, 3], [2, 10, 1, 10, 3]]
    assert encoded["input_mask"].to_list() == [[1] * 6, [1] * 5]
    assert encoded["input_type_ids"].to_list() == [[0] * 6, [0] * 5]
    assert {(value.dtype, value.shape.rank) for value in encoded.values()} == {(tf.int64, 2)}


def test_a_pair_has_type_id_one_from_the_second_text_to_its_sep(tmp_path: Path) -> None:
    texts = [tf.constant(["good", ""]), tf.constant(["shoes!", "good"])]
    encoded = bert_text.encode(texts, vocab=vocabulary(tmp_path), max_seq_length=16)
    assert encoded["input_word_ids"].to_list() == [[2, 4, 3, 6, 7, 3], [2, 3, 4, 3]]
    assert encoded["input_type_ids"].to_list() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1]]


def test_a_pair_spends_its_whole_budget_and_spares_the_shorter_text(tmp_path: Path) -> None:
    texts = [tf.constant(["good good", "good " * 9]), tf.constant(["shoes " * 9, "shoes " * 9])]
    encoded = bert_text.encode(texts, vocab=vocabulary(tmp_path), max_seq_length=10)
    assert encoded["input_word_ids"].to_list() == [
        [2, 4, 4, 3, 6, 6, 6, 6, 6, 3],
        [2, 4, 4, 4, 3, 6, 6, 6, 6, 3],
    ]


def test_no_text_is_cls_sep_and_no_batch_is_no_rows(tmp_path: Path) -> None:
    vocab = vocabulary(tmp_path)
    assert word_ids(["", " \n", "\x00\u200b"], vocab) == [[2, 3]] * 3
    empty = bert_text.encode([tf.constant([], tf.string)], vocab=vocab, max_seq_length=8)
    assert empty["input_word_ids"].to_list() == []


def test_a_text_of_600_tokens_is_cut_to_512(tmp_path: Path) -> None:
    (ids,) = word_ids(["good " * 600], vocabulary(tmp_path))
    assert (len(ids), ids[0], ids[510], ids[511]) == (512, 2, 4, 3)


def test_words_are_measured_in_characters_and_unknown_beyond_100(tmp_path: Path) -> None:
    vocab = vocabulary(tmp_path, text="[UNK]\n[CLS]\n[SEP]\na\n##a\nш\n##ш\n")
    rows = word_ids(["a" * 100, "a" * 101, "ш" * 100, "ш" * 101], vocab)
    assert [len(row) for row in rows] == [102, 3, 102, 3]
    assert rows[1] == rows[3] == [1, 0, 2]


def test_a_cased_vocabulary_keeps_case_and_accents(tmp_path: Path) -> None:
    assert word_ids(["Good gÖod"], vocabulary(tmp_path, lower_case=False)) == [[2, 11, 1, 3]]
    assert word_ids(["Good gÖod"], vocabulary(tmp_path)) == [[2, 4, 4, 3]]


def test_eager_tf_data_and_a_saved_model_agree(tmp_path: Path) -> None:
    vocab = vocabulary(tmp_path)
    texts = tf.constant(["Goodish, ΣΟΣ İ!", "", "\ufeff鞋\x00" + "a" * 101, b"go\xffod"])

    def encode(a: tf.Tensor) -> dict[str, tf.RaggedTensor]:
        return bert_text.encode([a, a], vocab=vocab, max_seq_length=9)

    def export(a: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: value.to_tensor() for name, value in encode(a).items()}

    eager = encode(texts)
    in_data = next(iter(tf.data.Dataset.from_tensors(texts).map(encode)))
    module = tf.Module()
    module.encode = tf.function(export, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    (tmp_path / "vocab.txt").unlink()
    served = tf.saved_model.load(str(tmp_path / "saved")).encode(texts)
    for name, value in eager.items():
        assert in_data[name].to_list() == value.to_list()
        assert served[name].numpy().tolist() == value.to_tensor().numpy().tolist()
    assert eager["input_word_ids"].to_list()[3] == [2, 4, 3, 4, 3]


def test_ids_do_not_depend_on_the_locale_of_the_process(tmp_path: Path) -> None:
    """Under LANG=tr_TR TensorFlow's own lower-casing turns I into a dotless one."""
    vocabulary(tmp_path)
    code = (
        "import sys, bert_text, tensorflow as tf\n"
        "vocab = bert_text.load_vocabulary(sys.argv[1], lower_case=True)\n"
        "ids = bert_text.encode([tf.constant(['I \\u0130 \\u03a3\\u039f\\u03a3'])], vocab=vocab, max_seq_length=8)\n"
        "print(ids['input_word_ids'].to_list(), tf.strings.lower(['I'], encoding='utf-8').numpy()[0].decode())"
    )
    modules = str(Path(bert_text.__file__).parent)
    environment = {**os.environ, "LC_ALL": "tr_TR.UTF-8", "PYTHONPATH": modules, "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "vocab.txt")],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert run.stdout.strip() == "[[2, 9, 9, 8, 3]] ı"


def test_capitals_with_accents_do_not_depend_on_the_locale_either() -> None:
    """Turkish takes the dot off a capital I, Lithuanian puts one onto those with accents."""
    code = (
        "import bert_text, tensorflow as tf\n"
        "rules = bert_text.TextRules(lower_case=True, strip_accents=False)\n"
        "text = '\\u0130 \\u00cc \\u00cd \\u0128 \\u012e\\u0301 I\\u0307 J\\u0301 \\u00c9\\u03a3'\n"
        "print(ascii([w.decode() for w in bert_text.split_words(tf.constant([text]), rules=rules).to_list()[0]]))"
    )
    expected = ["i\u0307", "ì", "í", "ĩ", "į\u0301", "i\u0307", "j\u0301", "éσ"]
    for locale in ("tr_TR.UTF-8", "lt_LT.UTF-8"):
        environment = {**os.environ, "LC_ALL": locale, "PYTHONPATH": str(Path(bert_text.__file__).parent)}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
        )
        assert run.stdout.strip() == ascii(expected)


def test_only_ops_that_tf_servings_tf_text_has_are_in_the_graph(tmp_path: Path) -> None:
    """TF Serving 2.12 to 2.19 embed tf-text 2.12.1."""
    vocab = vocabulary(tmp_path)
    function = tf.function(lambda a, b: bert_text.encode([a, b], vocab=vocab, max_seq_length=9))
    spec = tf.TensorSpec([None], tf.string)
    graph = function.get_concrete_function(spec, spec).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    text_ops = {
        node.op for node in nodes if "TFText" in node.op or "Normalize" in node.op or "Wordpiece" in node.op
    }
    assert text_ops == {"NormalizeUTF8", "FastWordpieceTokenizeWithOffsets"}


def test_special_ids_come_from_the_vocabulary(tmp_path: Path) -> None:
    vocab = vocabulary(tmp_path, text="a\n[SEP]\n[UNK]\n[CLS]\n")
    assert (vocab.cls_id, vocab.sep_id) == (3, 1)
    assert word_ids(["a q"], vocab) == [[3, 0, 2, 1]]


def test_windows_line_ends_and_repeated_tokens_are_read_as_hugging_face_reads_them(tmp_path: Path) -> None:
    vocab = vocabulary(tmp_path, text="[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n\r\n\r\na")
    assert word_ids(["a"], vocab) == [[1, 6, 2]]


def test_a_vocabulary_without_special_tokens_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab\.txt has no \[CLS\], \[UNK\] among its 2 tokens; give the"):
        vocabulary(tmp_path, text="[SEP]\na\n")


def test_lengths_without_room_and_three_texts_are_refused(tmp_path: Path) -> None:
    vocab, text = vocabulary(tmp_path), tf.constant(["a"])
    with pytest.raises(ValueError, match="max_seq_length is 4, .* at least 5"):
        bert_text.encode([text, text], vocab=vocab, max_seq_length=4)
    with pytest.raises(ValueError, match="one text or a pair, not 3"):
        bert_text.encode([text] * 3, vocab=vocab, max_seq_length=9)
