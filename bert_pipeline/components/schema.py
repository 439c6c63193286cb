"""The schema: inferred from the first data, tightened by the task, then curated by the user."""

from pathlib import Path

import bert_task
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.whole_file import write_whole

SCHEMA_FILE = "schema.pbtxt"

# Environments of the schema (https://www.tensorflow.org/tfx/data_validation/get_started#schema_environments).
TRAINING, SERVING = "TRAINING", "SERVING"

_HEADER = """\
# The schema of the data of task {name}: inferred from the first data it saw, then yours to edit.
# Each run validates its data against this file before it trains. Fields: tensorflow_metadata's schema.proto.
"""


# No `from __future__ import annotations` in this file: TFX's decorator reads the annotations themselves.
@component
def CuratedSchema(
    schema_pbtxt: tfx.dsl.components.Parameter[str],
    schema: tfx.dsl.components.OutputArtifact[standard_artifacts.Schema],
) -> None:
    """Imports the curated schema into the graph.

    TFX's ImportSchemaGen is keyed by the file's path and does not see an edit. Here the parameter is the text
    itself, so an edited schema is a new artifact.
    """
    Path(schema.uri).mkdir(parents=True, exist_ok=True)
    (Path(schema.uri) / SCHEMA_FILE).write_text(schema_pbtxt, encoding="utf-8")


def tighten(schema: schema_pb2.Schema, *, data: bert_task.DataConfig) -> schema_pb2.Schema:
    """Adds what inference cannot know: texts are free, labels are a closed set, both are required.

    The label is missing in service: the environments TRAINING and SERVING express this.

    Args:
        schema: inferred by TFDV.
        data: section [data] of the task.

    Raises:
        UserError: the data lacks a column that the task names.
    """
    result = schema_pb2.Schema()
    result.CopyFrom(schema)
    features = {feature.name: feature for feature in result.feature}
    for key, column in [*(("data.text", c) for c in data.text), ("data.label", data.label)]:
        if column not in features:
            raise UserError(f"{key}: the data has no column {column!r}; it has {', '.join(sorted(features))}")
        _require_one_string(features[column])
    for column in data.text:
        features[column].ClearField("domain_info")
    for feature in features.values():
        _drop_wide_domain(feature, schema=result)
    features[data.label].ClearField("domain_info")
    features[data.label].string_domain.CopyFrom(schema_pb2.StringDomain(name=data.label, value=data.labels))
    _set_environments(result, label=features[data.label])
    used = {f.domain for f in result.feature if f.WhichOneof("domain_info") == "domain"}
    kept = [domain for domain in result.string_domain if domain.name in used]
    del result.string_domain[:]
    result.string_domain.extend(kept)
    return result


def _require_one_string(feature: schema_pb2.Feature) -> None:
    feature.type = schema_pb2.BYTES
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    feature.ClearField("value_count")
    feature.ClearField("shape")
    feature.shape.dim.add(size=1)


def _set_environments(schema: schema_pb2.Schema, *, label: schema_pb2.Feature) -> None:
    """Requests in service have every column but the label."""
    missing = [name for name in (TRAINING, SERVING) if name not in schema.default_environment]
    schema.default_environment.extend(missing)
    if SERVING not in (*label.in_environment, *label.not_in_environment):
        label.not_in_environment.append(SERVING)


def _drop_wide_domain(feature: schema_pb2.Feature, *, schema: schema_pb2.Schema) -> None:
    """Removes domains of over 50 values: dates, ids and the like are not closed sets."""
    if feature.WhichOneof("domain_info") != "domain":
        return
    domain = next(d for d in schema.string_domain if d.name == feature.domain)
    if len(domain.value) > 50 or _looks_like_date(feature.name, domain.value):
        feature.ClearField("domain_info")


def _looks_like_date(name: str, values: list[str]) -> bool:
    return all(len(v) >= 8 and v[:4].isdigit() for v in values)


def write_curated_schema(
    inferred_dir: str, *, path: Path, data: bert_task.DataConfig, task_name: str
) -> None:
    """Writes the first curated schema beside the task file.

    Args:
        inferred_dir: uri of SchemaGen's artifact.
        path: the file to write.
        data: section [data].
        task_name: for the file's header.
    """
    text = (Path(inferred_dir) / SCHEMA_FILE).read_text(encoding="utf-8")
    schema = tighten(text_format.Parse(text, schema_pb2.Schema()), data=data)
    write_schema(schema, path=path, header=_HEADER.format(name=task_name))


def write_schema(schema: schema_pb2.Schema, *, path: Path, header: str) -> None:
    """Writes a schema file atomically.

    Args:
        schema: what to write.
        path: the file.
        header: comment lines at its start.
    """
    write_whole(path, header + text_format.MessageToString(schema, as_utf8=True))


def read_curated_schema(path: Path) -> str:
    """The text of a curated schema.

    Raises:
        UserError: the file is not a schema.
    """
    text = path.read_text(encoding="utf-8")
    try:
        text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise UserError(
            f"{path}: not a schema: {error}; correct the line, or delete the file to infer it again"
        ) from error
    return text
