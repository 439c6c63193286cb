#!/usr/bin/env bash
# TF Text gives up on a word longer than 100 BYTES, Hugging Face on one longer than 100 CHARACTERS.
#
# Google's BERT (tokenization.py, max_input_chars_per_word) and Hugging Face's WordPiece turn a word of more than 100
# characters into [UNK]. TensorFlow Text's BertTokenizer and FastBertTokenizer have the same number, as
# max_bytes_per_word=100, and count UTF-8 bytes. In Latin letters nobody sees it. In Cyrillic a word of 51 letters is
# [UNK]; in Thai, which writes no blanks between words and which BERT's pre-tokenizer does not split, so is every run
# of 34 letters: an ordinary phrase loses all its tokens in serving, though training on Hugging Face's ids had them.
#
# Versions: tensorflow-text 2.16.1 (tensorflow 2.16.2), tokenizers 0.22.1, Python 3.10, Linux x86_64.
# Seen: letters -> tokens of (tokenizers, BertTokenizer, FastBertTokenizer)
#   a x 100: 100 100 100    a x 101: 1 1 1
#   Cyrillic x 50: 50 50 50    x 51: 51 1 1
#   Thai x 33: 33 33 33    x 34: 34 1 1    x 100: 100 1 1
# With max_bytes_per_word=400 both give 100 tokens for 100 Thai letters, and for 101 Latin ones 101: no number is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet uv==0.9.11
# Python 3.10: $PYTHON, one on PATH, one of pyenv's, or one that uv fetches.
for python in "${PYTHON:-}" python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python 3.10; do
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2> /dev/null && break
done
"$work/tools/bin/uv" venv --quiet --python "$python" "$work/venv"
"$work/tools/bin/uv" pip install --quiet --python "$work/venv/bin/python" \
  tensorflow==2.16.2 tensorflow-text==2.16.1 tokenizers==0.22.1 numpy==1.26.4
cat > "$work/count.py" <<'PY'
import sys

import tensorflow_text as tf_text
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

LETTERS = {"Latin": "a", "Cyrillic": "\u044f", "Thai": "\u0e01"}
SEEN = {
    ("Latin", 100): (100, 100, 100), ("Latin", 101): (1, 1, 1),
    ("Cyrillic", 50): (50, 50, 50), ("Cyrillic", 51): (51, 1, 1),
    ("Thai", 33): (33, 33, 33), ("Thai", 34): (34, 1, 1), ("Thai", 100): (100, 1, 1),
}
vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
vocab += [piece for letter in LETTERS.values() for piece in (letter, "##" + letter)]
vocab_file = sys.argv[1]
with open(vocab_file, "w", encoding="utf-8") as file:
    file.write("\n".join(vocab) + "\n")
rust = Tokenizer(models.WordPiece(vocab={piece: i for i, piece in enumerate(vocab)}, unk_token="[UNK]"))
rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
plain = tf_text.BertTokenizer(vocab_file, lower_case=True)
fast = tf_text.FastBertTokenizer(vocab=vocab, lower_case_nfd_strip_accents=True)
failed = False
for (name, count), expected in SEEN.items():
    word = LETTERS[name] * count
    got = (
        len(rust.encode(word, add_special_tokens=False).ids),
        int(plain.tokenize([word]).flat_values.shape[0]),
        int(fast.tokenize([word]).flat_values.shape[0]),
    )
    print(f"{name:9} {count:3} letters {len(word.encode()):3} bytes: tokens {got}")
    failed |= got != expected
wide = tf_text.BertTokenizer(vocab_file, lower_case=True, max_bytes_per_word=400)
fast_wide = tf_text.FastBertTokenizer(vocab=vocab, max_bytes_per_word=400, lower_case_nfd_strip_accents=True)
for tokenizer in (wide, fast_wide):
    for name, count in (("Thai", 100), ("Latin", 101)):
        got = int(tokenizer.tokenize([LETTERS[name] * count]).flat_values.shape[0])
        print(f"{type(tokenizer).__name__} of 400 bytes: {name} x {count} gives {got} tokens")
        failed |= got != count
sys.exit("the behaviour changed" if failed else 0)
PY
"$work/venv/bin/python" "$work/count.py" "$work/vocab.txt" 2> "$work/log" || { cat "$work/log"; exit 1; }
