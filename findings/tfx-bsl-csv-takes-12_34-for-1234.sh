#!/usr/bin/env bash
# tfx_bsl's CSV decoder (CsvExampleGen, TFDV, CsvTFXIO) guesses a column's type with Python's int() and float().
#
# So a code "12_34" is the integer 1234, Python's digit separator, and the two codes 12_34 and 1234 become one; " 7" and
# "+7" are 7; texts that happen to be "nan" and "infinity" are floats. The guess is made over the whole input: one cell
# that is no number keeps every other cell as text, so the same cell 12_34 is 1234 in one day's file and b"12_34" in the
# next, and the schema of the first day refuses the second.
#
# Version: tfx-bsl 1.16.1 (apache-beam 2.65.0, tensorflow 2.16.2), Python 3.10, Linux x86_64.
# Seen: codes 12_34, 1234 -> [1234], [1234]; codes 12_34, x -> [b"12_34"], [b"x"]; 007, +7 -> [7], [7];
#   texts nan, infinity -> [nan], [inf]
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
  tfx-bsl==1.16.1 tensorflow==2.16.2 apache-beam==2.65.0 pandas==1.5.3 numpy==1.26.4 protobuf==3.20.3 setuptools==75.8.0
cat > "$work/read.py" <<'PY'
import os
import sys
import tempfile

import apache_beam as beam
from tfx_bsl.public import tfxio

WORK = sys.argv.pop(1)


def read(column, *cells):
    folder = tempfile.mkdtemp(dir=WORK)
    with open(folder + "/data.csv", "w") as file:
        file.write(f"row,{column}\n" + "".join(f"r{i},{cell}\n" for i, cell in enumerate(cells)))
    source = tfxio.CsvTFXIO(folder + "/data.csv", column_names=["row", column], skip_header_lines=1)

    def keep(batch):
        rows = batch.to_pydict()
        for row, value in zip(rows["row"], rows[column]):
            with open(os.path.join(folder, row[0].decode()), "w") as file:
                file.write(repr(value))

    with beam.Pipeline("apache_beam.runners.portability.fn_api_runner.FnApiRunner") as pipeline:
        pipeline | source.BeamSource() | beam.Map(keep)
    values = [open(f"{folder}/r{i}").read() for i in range(len(cells))]
    print(column, cells, "->", *values)
    return values


seen = read("code", "12_34", "1234") == ["[1234]", "[1234]"]
seen &= read("code", "12_34", "x") == ["[b'12_34']", "[b'x']"]
seen &= read("code", "007", "+7") == ["[7]", "[7]"]
seen &= read("text", "nan", "infinity") == ["[nan]", "[inf]"]
sys.exit(0 if seen else "the behaviour changed")
PY
"$work/venv/bin/python" "$work/read.py" "$work" 2> "$work/log" || { cat "$work/log"; exit 1; }
