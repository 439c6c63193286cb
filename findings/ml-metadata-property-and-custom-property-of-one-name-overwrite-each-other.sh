#!/usr/bin/env bash
# ml-metadata: a property and a custom property of one name are written over each other, silently.
#
# Properties (declared by the type) and custom properties are two maps of the API and may hold one name each: the table
# has a column is_custom_property. The first write keeps both. Every later one updates and deletes by id and name alone.
# Who changes or leaves out the custom property loses the declared one: the next reader finds no value of a property that
# the type declares. Who changes the declared one finds its value in the custom one as well. Nothing is raised or logged.
#
# Version: ml-metadata 1.16.0, Python 3.10, Linux x86_64, SQLite store.
# Seen: written together            {'x': 'declared'} {'x': 'custom'}
#       custom property changed     {} {'x': 'new'}
#       custom property left out    {} {}
#       declared one changed        {'x': 'new'} {'x': 'new'}
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

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

connection = pb.ConnectionConfig()
connection.sqlite.filename_uri = sys.argv[1]
connection.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
store = MetadataStore(connection)
type_id = store.put_artifact_type(pb.ArtifactType(name="Thing", properties={"x": pb.STRING}))


def after(change):
    """Both maps of a thing that was written with both, read, changed and written again."""
    thing = pb.Artifact(type_id=type_id, uri="/thing")
    thing.properties["x"].string_value = "declared"
    thing.custom_properties["x"].string_value = "custom"
    ids = store.put_artifacts([thing])
    [thing] = store.get_artifacts_by_id(ids)
    change(thing)
    store.put_artifacts([thing])
    [thing] = store.get_artifacts_by_id(ids)
    maps = thing.properties, thing.custom_properties
    return tuple({name: value.string_value for name, value in values.items()} for values in maps)


def change_custom(thing):
    thing.custom_properties["x"].string_value = "new"


def change_declared(thing):
    thing.properties["x"].string_value = "new"


SEEN = {
    "written together": (lambda thing: None, ({"x": "declared"}, {"x": "custom"})),
    "custom property changed": (change_custom, ({}, {"x": "new"})),
    "custom property left out": (lambda thing: thing.ClearField("custom_properties"), ({}, {})),
    "declared one changed": (change_declared, ({"x": "new"}, {"x": "new"})),
}
failed = False
for name, (change, expected) in SEEN.items():
    found = after(change)
    print(f"{name:26}", *found)
    failed |= found != expected
sys.exit("the behaviour changed" if failed else 0)
PY
"$work/venv/bin/python" "$work/write.py" "$work/store.sqlite" 2> "$work/log" || { cat "$work/log"; exit 1; }
