#!/usr/bin/env bash
# tft.compute_and_apply_vocabulary leaves out a value that holds a line break, however frequent, and maps it to -1.
#
# The vocabulary is written as lines, so values with \n or \r, and empty ones, are dropped by the analyzer; nothing is
# logged. With the default num_oov_buckets=0 each such row becomes -1, the id of an unknown value, in the very data the
# vocabulary was made of. A label such as "in<line break>stock" (a cell with a line break) is then no class, and -1 goes
# into the loss or fails far from here. A value of one blank is kept, and "sold " beside "sold" is a class of its own.
#
# Version: tensorflow-transform 1.16.0 (tensorflow 2.16.2), Python 3.10, Linux x86_64 (a C++ compiler for pyfarmhash).
# Seen: vocabulary [' ', 'sold ', 'sold'] of rows in which "in\nstock" was the most frequent; its ids are -1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= PYTHONWARNINGS=ignore TF_USE_LEGACY_KERAS=1
python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet uv==0.9.11
# Python 3.10: $PYTHON, one on PATH, one of pyenv's, or one that uv fetches.
for python in "${PYTHON:-}" python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python 3.10; do
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2> /dev/null && break
done
"$work/tools/bin/uv" venv --quiet --python "$python" "$work/venv"
"$work/tools/bin/uv" pip install --quiet --python "$work/venv/bin/python" \
  tensorflow-transform==1.16.0 tensorflow==2.16.2 tf-keras==2.16.0 tfx-bsl==1.16.1 apache-beam==2.65.0 \
  pandas==1.5.3 numpy==1.26.4 protobuf==3.20.3 setuptools==75.8.0
cat > "$work/vocabulary.py" <<'PY'
import sys

import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

work = sys.argv.pop(1)
spec = {"label": tf.io.FixedLenFeature([], tf.string)}
metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
values = ["in\nstock"] * 4 + ["a\rb", "", ""] + [" "] * 3 + ["sold "] * 2 + ["sold"]
rows = [{"label": value} for value in values]


def preprocessing_fn(inputs):
    return {"id": tft.compute_and_apply_vocabulary(inputs["label"], vocab_filename="labels")}


with tft_beam.Context(temp_dir=work + "/temp"):
    (transformed, _), transform_fn = (rows, metadata) | tft_beam.AnalyzeAndTransformDataset(preprocessing_fn)
    transform_fn | tft_beam.WriteTransformFn(work + "/transform")
ids = {value: int(row["id"]) for value, row in zip(values, transformed)}
vocabulary = [value.decode() for value in tft.TFTransformOutput(work + "/transform").vocabulary_by_name("labels")]
print("vocabulary", vocabulary)
print("ids", ids)
seen = vocabulary == [" ", "sold ", "sold"]
seen &= ids == {"in\nstock": -1, "a\rb": -1, "": -1, " ": 0, "sold ": 1, "sold": 2}
sys.exit(0 if seen else "the behaviour changed")
PY
"$work/venv/bin/python" "$work/vocabulary.py" "$work" 2> "$work/log" || { cat "$work/log"; exit 1; }
