#!/usr/bin/env bash
# One BERT folder, one pair of texts: transformers 4 returns token_type_ids 0 0 0 1 1, transformers 5 returns none.
#
# Where tokenizer_config.json says "tokenizer_class": "PreTrainedTokenizerFast" (what is saved of a tokenizer that was
# trained with the tokenizers library and wrapped), transformers 5 loads TokenizersBackend, whose default
# model_input_names has no token_type_ids; that of transformers 4 had them. tokenizer.json still says that the second
# text has type id 1, and tokenizers by itself still gives it. No error and no warning: a BERT that is given no
# token_type_ids takes 0 for every token, so that each pair (paraphrases, question and answer, premise and hypothesis)
# gets other vectors than it was trained with. "BertTokenizerFast" in the same file, or no class at all, is not affected;
# nor is a file that names model_input_names.
#
# Versions: transformers 4.57.3 with tokenizers 0.22.2, transformers 5.20.2 with tokenizers 0.23.3.
# Seen, tokenizer("good", "shoe"):
#   4.57.3 PreTrainedTokenizerFast  [2, 5, 3, 6, 3]  type ids [0, 0, 0, 1, 1]
#   5.20.2 PreTrainedTokenizerFast  [2, 5, 3, 6, 3]  type ids None
#   5.20.2 BertTokenizerFast        [2, 5, 3, 6, 3]  type ids [0, 0, 0, 1, 1]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
python3 -m venv "$work/4.57.3"
"$work/4.57.3/bin/pip" install --quiet transformers==4.57.3 tokenizers==0.22.2
python3 -m venv "$work/5.20.2"
"$work/5.20.2/bin/pip" install --quiet transformers==5.20.2 tokenizers==0.23.3
cat > "$work/pair.py" <<'PY'
import json
import os
import sys

import transformers
from tokenizers import BertWordPieceTokenizer

folder, expected = sys.argv[1], json.loads(sys.argv[2])
os.makedirs(folder)
vocab = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "shoe")
BertWordPieceTokenizer({token: i for i, token in enumerate(vocab)}).save(f"{folder}/tokenizer.json")
with open(f"{folder}/config.json", "w") as file:
    json.dump({"model_type": "bert"}, file)
for kind, type_ids in expected.items():
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": kind, "do_lower_case": True}, file)
    found = transformers.AutoTokenizer.from_pretrained(folder)("good", "shoe")
    print(transformers.__version__, kind, found["input_ids"], "type ids", found.get("token_type_ids"))
    if found["input_ids"] != [2, 5, 3, 6, 3] or found.get("token_type_ids") != type_ids:
        sys.exit("the behaviour changed")
PY
with='[0, 0, 0, 1, 1]'
for run in "4.57.3 $with" "5.20.2 null"; do
  "$work/${run%% *}/bin/python" "$work/pair.py" "$work/bert-${run%% *}" \
    "{\"PreTrainedTokenizerFast\": ${run#* }, \"BertTokenizerFast\": $with}" 2> "$work/log" || { cat "$work/log"; exit 1; }
done
