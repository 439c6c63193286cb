#!/usr/bin/env bash
# Keras' TextVectorization lower-cases ASCII only: its default vocabulary holds "Äpfel" and "äpfel" as two words.
#
# standardize="lower_and_strip_punctuation" calls tf.strings.lower without encoding="utf-8", whose default changes
# A to Z and nothing else. In German, French, Russian or Greek, the first word of each sentence is another token than
# the same word within it, in the preprocessing layer that a text classifier exports with it. Punctuation outside
# ASCII (quotation marks of other languages, the inverted question mark) stays on the words as well.
#
# Versions: keras 3.15.1, tf-keras 2.20.1 (tensorflow 2.20.0).
# Seen: of "APPLE apple" one word remains, of "Äpfel äpfel" and of "Москва москва" two each; «да» keeps its marks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= KERAS_BACKEND=tensorflow
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.20.0 keras==3.15.1 tf-keras==2.20.1
cat > "$work/lower.py" <<'PY'
import sys

import keras
import tf_keras

seen = True
for api in (keras, tf_keras):
    layer = api.layers.TextVectorization()
    layer.adapt(["APPLE apple! Äpfel äpfel Москва москва «да»"])
    words = sorted(layer.get_vocabulary()[2:])
    print(api.__name__, *words)
    seen &= words == sorted(["apple", "Äpfel", "äpfel", "Москва", "москва", "«да»"])
sys.exit(0 if seen else "the behaviour changed")
PY
PYTHONIOENCODING=utf-8 "$work/venv/bin/python" "$work/lower.py" 2> "$work/log" || { cat "$work/log"; exit 1; }
