#!/usr/bin/env bash
# save_pretrained of transformers 4 writes two vocabularies that disagree, where vocab.txt had a token twice.
#
# A vocab.txt in which a token stands on two lines loads without a word: the last line holds, and the id of the first
# belongs to no token. Saved again, tokenizer.json keeps each id; vocab.txt is written as a list of the tokens that are
# left, without a line for the missing id, so that every token behind it moves up by one. Whoever then loads tokenizer.json
# (the fast tokenizer, while the file is there) gets the right ids; whoever loads vocab.txt (the slow tokenizer, TF Text,
# tf.lookup) gets the embeddings of the neighbours. What is said is one line on standard output,
# "your vocabulary could be corrupted", and no error.
#
# Versions: transformers 4.57.3, tokenizers 0.22.2. (transformers 5 writes no vocab.txt.)
# Seen, "good shoe heel" with the vocabulary [PAD] [UNK] [CLS] [SEP] [MASK] good shoe good heel:
#   loaded             [2, 7, 6, 8, 3]
#   saved, both files  [2, 7, 6, 8, 3]
#   saved, vocab.txt   [2, 6, 5, 7, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==4.57.3 tokenizers==0.22.2
mkdir "$work/bert"
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' good shoe good heel > "$work/bert/vocab.txt"
echo '{"model_type": "bert"}' > "$work/bert/config.json"
cat > "$work/save.py" <<'PY'
import os
import shutil
import sys

from transformers import AutoTokenizer

source, saved, alone = (f"{sys.argv[1]}/{name}" for name in ("bert", "saved", "alone"))
tokenizer = AutoTokenizer.from_pretrained(source)
tokenizer.save_pretrained(saved)
os.makedirs(alone)
shutil.copy(f"{source}/config.json", alone)
shutil.copy(f"{saved}/vocab.txt", alone)
found = {}
for name, folder in (("loaded", source), ("saved, both files", saved), ("saved, vocab.txt", alone)):
    found[name] = AutoTokenizer.from_pretrained(folder)("good shoe heel")["input_ids"]
    print(f"{name:18} {found[name]}")
right, shifted = [2, 7, 6, 8, 3], [2, 6, 5, 7, 3]
sys.exit(0 if list(found.values()) == [right, right, shifted] else "the behaviour changed")
PY
"$work/venv/bin/python" "$work/save.py" "$work" 2> "$work/log" || { cat "$work/log"; exit 1; }
