#!/usr/bin/env bash
# ml-metadata stores no NaN and no infinity ("no such column: nan"), and cuts a string at a NUL without a word.
#
# Numbers are pasted into the text of the SQL statement. A metric that is not defined, a precision without a positive
# answer for one, is NaN in TensorFlow and NumPy and a value like any other in protobuf's double_value; the write fails
# with an InternalError that speaks of a column, after the component has computed everything. A string goes through as a
# C string: what stands behind a NUL is gone, and the call succeeds.
#
# Version: ml-metadata 1.16.0, Python 3.10, Linux x86_64, SQLite store.
# Seen: nan -> InternalError: Error when executing query: no such column: nan
#       inf -> InternalError: Error when executing query: no such column: inf
#       0.5 -> 0.5; 'a\x00b' -> 'a', of a property and of a uri
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
  ml-metadata==1.16.0 protobuf==3.20.3 setuptools==75.8.0
cat > "$work/write.py" <<'PY'
import sys

from ml_metadata import MetadataStore, errors
from ml_metadata.proto import metadata_store_pb2 as pb

connection = pb.ConnectionConfig()
connection.sqlite.filename_uri = sys.argv[1]
connection.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
store = MetadataStore(connection)
type_id = store.put_artifact_type(pb.ArtifactType(name="Evaluation"))
failed = False
for value, expected in ((float("nan"), "no such column: nan"), (float("inf"), "no such column: inf"), (0.5, 0.5)):
    artifact = pb.Artifact(type_id=type_id, uri="/evaluation")
    artifact.custom_properties["precision"].double_value = value
    try:
        [read] = store.get_artifacts_by_id(store.put_artifacts([artifact]))
        found = read.custom_properties["precision"].double_value
    except errors.InternalError as error:
        found = str(error).removeprefix("Error when executing query: ").partition(" query:")[0]
    print(f"{value} -> {found!r}")
    failed |= not str(found).startswith(str(expected))
text = "a\0b"
artifact = pb.Artifact(type_id=type_id, uri=text)
artifact.custom_properties["text"].string_value = text
[read] = store.get_artifacts_by_id(store.put_artifacts([artifact]))
found = (read.custom_properties["text"].string_value, read.uri)
print(f"{text!r} -> {found}")
failed |= found != ("a", "a")
sys.exit("the behaviour changed" if failed else 0)
PY
"$work/venv/bin/python" "$work/write.py" "$work/store.sqlite" 2> "$work/log" || { cat "$work/log"; exit 1; }
