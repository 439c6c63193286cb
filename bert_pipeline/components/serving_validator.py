"""ServingValidator: tells how far texts that are to be labelled lie from what was trained on; a function component."""

import json
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.types import artifact_utils, standard_artifacts

from bert_pipeline.components.example_gen import read_examples
from bert_pipeline.components.example_validator import NOTES
from bert_pipeline.components.schema import SCHEMA_FILE
from bert_pipeline.components.serving_data import check_served
from bert_pipeline.data.drift import Threshold, as_json, read_statistics, thresholds
from bert_pipeline.data.text_features import TextFeatures
from bert_pipeline.encoders.resolve import Encoder
from bert_pipeline.settings.config import LoadedTask


# No `from __future__ import annotations` in this file: TFX's decorator reads the annotations themselves.
@tfx.dsl.components.component
def ServingValidator(
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    anomalies: OutputArtifact[standard_artifacts.ExampleAnomalies],
    settings: Parameter[str],
) -> None:
    """Writes notes on the texts; it stops nothing, for the model is in service already.

    Args:
        examples: unlabelled texts, of one split.
        statistics: of the newest span that was trained on.
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


def settings_of(loaded: LoadedTask, *, encoder: Encoder) -> str:
    """What `ServingValidator` needs of a task, as JSON."""
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
