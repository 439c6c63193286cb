#!/usr/bin/env bash
# TensorFlow Data Validation counts every text above a length as one value, "__LARGE_BYTES__".
#
# The statistics of a string column replace each value of more than 1,024 bytes by the placeholder before its top
# values and its rank histogram are made; `unique` still counts the real ones. What is computed from those statistics
# takes the placeholder for data: infer_schema writes a domain whose only value is "__LARGE_BYTES__", so that a
# document column looks like a category; and the L-infinity drift between two corpora of long documents that share no
# document is exactly 0, where the same check on shorter texts gives 0.5, the share of the commonest one.
#
# Version: tensorflow-data-validation 1.16.1, Python 3.10, Linux x86_64 (pyfarmhash is built from source: a C++ compiler).
# Seen:
#   1024 bytes: top values and domain are the two texts, drift 0.5
#   1025 bytes: unique 2, top values ['__LARGE_BYTES__'], domain ['__LARGE_BYTES__'], drift 0.0
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
  tensorflow-data-validation==1.16.1 tensorflow==2.16.2 tfx-bsl==1.16.1 apache-beam==2.65.0 pandas==1.5.3 \
  numpy==1.26.4 protobuf==3.20.3 setuptools==75.8.0
cat > "$work/long.py" <<'PY'
import sys

import pandas as pd
import tensorflow_data_validation as tfdv


def statistics(letters, length):
    texts = [letter * length for letter in letters for _ in range(5)]
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame({"text": texts}), n_jobs=1)


def measure(length):
    old, new = statistics("ab", length), statistics("cd", length)
    schema = tfdv.infer_schema(old)
    tfdv.get_feature(schema, "text").drift_comparator.infinity_norm.threshold = 0.01
    anomalies = tfdv.validate_statistics(new, schema, previous_statistics=old)
    drift = anomalies.drift_skew_info[0].drift_measurements[0].value
    column = old.datasets[0].features[0].string_stats
    top = [value.value[:20] for value in column.top_values]
    domain = [value[:20] for value in schema.string_domain[0].value]
    print(f"{length} bytes: unique {column.unique}, top values {top}, domain {domain}, drift {drift}")
    return column.unique, sorted(set(top)), sorted(domain), drift


short, long = measure(1024), measure(1025)
a, b = "a" * 20, "b" * 20
seen = short == (2, [a, b], [a, b], 0.5) and long == (2, ["__LARGE_BYTES__"], ["__LARGE_BYTES__"], 0.0)
sys.exit(0 if seen else "the behaviour changed")
PY
"$work/venv/bin/python" "$work/long.py" 2> "$work/log" || { cat "$work/log"; exit 1; }
