"""ServingValidator: measures the skew of texts to label from the training data; a function component."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.types import artifact_utils, standard_artifacts

from bert_pipeline.components.example_gen import read_examples
from bert_pipeline.components.example_validator import NOTES
from bert_pipeline.components.schema import SCHEMA_FILE, SERVING
from bert_pipeline.data.drift import Statistics, Threshold, as_json, compare, read_statistics, thresholds
from bert_pipeline.data.text_features import TextFeatures, statistics_of
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.settings.config import LoadedTask

_NEW_COLUMN = anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN


# No `from __future__ import annotations` in this file: TFX's decorator reads the annotations themselves.
@tfx.dsl.components.component
def ServingValidator(
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    anomalies: OutputArtifact[standard_artifacts.ExampleAnomalies],
    settings: Parameter[str],
) -> None:
    """Writes notes on the texts; never stops the run, because the model is already in service.

    Args:
        examples: unlabelled texts, of one split.
        statistics: of the newest training span.
        schema: the curated schema.
        anomalies: gets the notes as a property.
        settings: of `settings_of`.
    """
    given = json.loads(settings)
    text = (Path(schema.uri) / SCHEMA_FILE).read_text(encoding="utf-8")
    curated = text_format.Parse(text, schema_pb2.Schema())
    [split] = artifact_utils.decode_split_names(examples.split_names)
    rows = [e.features.feature for e in read_examples(examples, split)]
    known = {*given["text"], *(f.name for f in curated.feature)} & {name for row in rows for name in row}
    columns = {
        name: [(row[name].bytes_list.value or [b""])[0] if name in row else b"" for row in rows]
        for name in sorted(known | set(given["text"]))
    }
    notes = check_served(
        columns,
        text=given["text"],
        features=TextFeatures(**given["tokenizer"]),
        schema=curated,
        training=read_statistics(artifact_utils.get_split_uri([statistics], "train")),
        limits={name: Threshold(*pair) for name, pair in given["limits"].items()},
    )
    anomalies.split_names = artifact_utils.encode_split_names([split])
    anomalies.set_string_custom_property(NOTES, "\n".join(notes))
    Path(anomalies.uri).mkdir(parents=True, exist_ok=True)
    (Path(anomalies.uri) / "served.txt").write_text("".join(f"{note}\n" for note in notes), encoding="utf-8")


def check_served(
    columns: Mapping[str, Sequence[bytes]],
    *,
    text: Sequence[str],
    features: TextFeatures,
    schema: schema_pb2.Schema,
    training: Statistics,
    limits: Mapping[str, Threshold],
) -> list[str]:
    """Compares served examples with the training data.

    Args:
        columns: name to one value per example, b"" if missing; at least the text columns.
        text: names of the text columns.
        features: the task's tokenizer.
        schema: the curated schema; read in its environment SERVING, in which the label may be missing. A missing
            column that is no text harms nothing but slices, and is left out.
        training: statistics of the train split, with the derived columns.
        limits: of `drift_limits.thresholds(task, kind="skew")`.

    Returns:
        Sentences; empty without findings.
    """
    if not columns[text[0]]:
        return []
    served = statistics_of({**columns, **features.columns([columns[name] for name in text])})
    is_set = SERVING in schema.default_environment
    anomalies = tfdv.validate_statistics(served, schema, environment=SERVING if is_set else None)
    notes = [
        f"served texts, column {name}: {(info.description or info.short_description).strip()}"
        for name, info in sorted(anomalies.anomaly_info.items())
        if (name in columns) and {reason.type for reason in info.reason} != {_NEW_COLUMN}
    ]
    for drift in compare(served, training, limits):
        if drift.is_breach:
            notes.append(
                f"served texts are not those of the training: {drift.explanation}; train on newer data"
            )
        elif drift.is_note:
            notes.append(f"served texts moved: {drift.explanation}")
    return notes


def settings_of(loaded: LoadedTask, *, encoder: Encoder) -> str:
    """The settings of `ServingValidator` from a task, as JSON."""
    task = loaded.task
    return json.dumps(
        {
            "text": list(task.data.text),
            "tokenizer": {
                "vocab_path": encoder.vocab_path,
                "lower_case": encoder.lower_case,
                "max_seq_length": task.text.max_seq_length,
            },
            "limits": as_json(thresholds(task, kind="skew")),
        },
        sort_keys=True,
    )
