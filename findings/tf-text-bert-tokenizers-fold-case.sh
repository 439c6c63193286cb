#!/usr/bin/env bash
# TF Text's BERT tokenizers do not lower-case, they fold case: "Straße" becomes "strasse", a final sigma an inner one.
#
# Google's BERT and Hugging Face lower-case (Python's str.lower, Unicode's simple lower-case mapping): ß stays ß, and ς
# at the end of a Greek word stays ς. TensorFlow Text's BertTokenizer(lower_case=True), whose documentation says
# "lowercase the text", and FastBertTokenizer(lower_case_nfd_strip_accents=True) apply Unicode's full case folding. The
# entries of an uncased German vocabulary that have an ß, and those of a Greek one that end in ς, which is most nouns,
# are never found: other pieces or [UNK], in a model that was trained with the other tokenizer's ids.
#
# Versions: tensorflow-text 2.16.1 (tensorflow 2.16.2), tokenizers 0.22.1, Python 3.10, Linux x86_64.
# Seen, tokens of (tokenizers, BertTokenizer, FastBertTokenizer):
#   Straße  straße | strasse | strasse
#   λόγος   λογος  | [UNK]   | [UNK]
#   Street  street | street  | street
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= PYTHONWARNINGS=ignore
python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet uv==0.9.11
# Python 3.10: $PYTHON, one on PATH, one of pyenv's, or one that uv fetches.
for python in "${PYTHON:-}" python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python 3.10; do
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2> /dev/null && break
done
"$work/tools/bin/uv" venv --quiet --python "$python" "$work/venv"
"$work/tools/bin/uv" pip install --quiet --python "$work/venv/bin/python" \
  tensorflow==2.16.2 tensorflow-text==2.16.1 tokenizers==0.22.1 numpy==1.26.4
cat > "$work/fold.py" <<'PY'
import sys

import tensorflow as tf
import tensorflow_text as tf_text
from tokenizers import BertWordPieceTokenizer

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "straße", "strasse", "λογος", "street"]
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write("".join(f"{word}\n" for word in VOCAB))
rust = BertWordPieceTokenizer(sys.argv[1], lowercase=True)
plain = tf_text.BertTokenizer(sys.argv[1], lower_case=True, token_out_type=tf.int64)
fast = tf_text.FastBertTokenizer(vocab=VOCAB, lower_case_nfd_strip_accents=True)
SEEN = {
    "Straße": ("straße", "strasse", "strasse"),
    "λόγος": ("λογος", "[UNK]", "[UNK]"),
    "Street": ("street", "street", "street"),
}


def words(ids):
    return " ".join(VOCAB[i] for i in ids)


failed = False
for text, expected in SEEN.items():
    found = (
        words(rust.encode(text, add_special_tokens=False).ids),
        words(plain.tokenize([text]).flat_values.numpy()),
        words(fast.tokenize([text]).flat_values.numpy()),
    )
    print(f"{text:8}", " | ".join(found))
    failed |= found != expected
sys.exit("the behaviour changed" if failed else 0)
PY
"$work/venv/bin/python" "$work/fold.py" "$work/vocab.txt" 2> "$work/log" || { cat "$work/log"; exit 1; }
