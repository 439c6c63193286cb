#!/usr/bin/env bash
# A cased BERT whose tokenizer.json says "lowercase": false is lower-cased by AutoTokenizer, in transformers 4 and 5.
#
# tokenizer.json looks like the whole tokenizer, and the tokenizers library takes it so. AutoTokenizer of a BERT folder puts do_lower_case of tokenizer_config.json in place of what tokenizer.json says; where
# that file is missing or has no such key, it puts its default, true, in place of it. So a folder of config.json, model and
# tokenizer.json, complete by the look of it, has one set of ids in transformers and another in the tokenizers library; "Good" and "GOOD" of a cased vocabulary become [UNK]. No error and no warning.
#
# Versions: transformers 4.57.3 with tokenizers 0.22.2, transformers 5.20.2 with tokenizers 0.23.3.
# Seen, "Good GOOD good" with the vocabulary [PAD] [UNK] [CLS] [SEP] [MASK] Good GOOD:
#   tokenizers                           [2, 5, 6, 1, 3]
#   AutoTokenizer                        [2, 1, 1, 1, 3]
#   AutoTokenizer, do_lower_case false   [2, 5, 6, 1, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
python3 -m venv "$work/4.57.3"
"$work/4.57.3/bin/pip" install --quiet transformers==4.57.3 tokenizers==0.22.2
python3 -m venv "$work/5.20.2"
"$work/5.20.2/bin/pip" install --quiet transformers==5.20.2 tokenizers==0.23.3
cat > "$work/case.py" <<'PY'
import json
import os
import sys

import transformers
from tokenizers import BertWordPieceTokenizer, Tokenizer

folder, text = sys.argv[1], "Good GOOD good"
os.makedirs(folder)
vocab = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Good", "GOOD")
tokenizer = BertWordPieceTokenizer({token: i for i, token in enumerate(vocab)}, lowercase=False)
tokenizer.save(f"{folder}/tokenizer.json")
with open(f"{folder}/config.json", "w") as file:
    json.dump({"model_type": "bert"}, file)
found = [Tokenizer.from_file(f"{folder}/tokenizer.json").encode(text).ids]
found.append(transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"])
with open(f"{folder}/tokenizer_config.json", "w") as file:
    json.dump({"do_lower_case": False}, file)
found.append(transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"])
print(transformers.__version__, "tokenizers, AutoTokenizer, AutoTokenizer with do_lower_case false:", *found)
cased = [2, 5, 6, 1, 3]
sys.exit(0 if found == [cased, [2, 1, 1, 1, 3], cased] else "the behaviour changed")
PY
for version in 4.57.3 5.20.2; do
  "$work/$version/bin/python" "$work/case.py" "$work/bert-$version" 2> "$work/log" || { cat "$work/log"; exit 1; }
done
