"""What one stack writes and the other reads: request logs and converted encoders.

    python -m tests.crossing make FOLDER     (FOLDER.zip too, with --zip: tests/data/crossing/tfx_*.zip are made so)
    python -m tests.crossing check FOLDER

`check` prints what is wrong, a line each, and ends with 1 where there is anything. `tests/cross_stacks.py` makes on
each stack and checks on the other; `tests/test_crossing.py` checks what either stack made once.
"""

from __future__ import annotations

import argparse
import contextvars
import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

import bert_task
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from bert_pipeline.encoders import hf_bert, hf_checkpoint
from bert_pipeline.encoders.bert_graph import PADDED, REAL_TOKENS
from bert_pipeline.monitoring import request_logs
from serving.model_server import api
from serving.model_server.config.settings import ModelSettings
from serving.model_server.observe.request_log import RequestLog

TINY_BERT = Path(__file__).resolve().parent / "data/tiny_bert"
MADE_BY = "made_by.json"
FORMS = (REAL_TOKENS, PADDED)
CALLS = (("order-17", ["They pinch."]), ("a,b", ["鞋 leak, naïve", "fine 👟"]))
# As `request_logs` gives them: id, text, label, share of "good".
ROWS = [
    ("order-17", "They pinch.", "good", 0.75),
    ("a", "鞋 leak, naïve", "good", 0.75),
    ("b", "fine 👟", "good", 0.75),
]
MOST_APART = 1e-5


def main() -> int:
    """Makes or checks a folder; returns 1 where something in it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["make", "check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--zip", action="store_true", help="put what was made into FOLDER.zip too")
    flags = parser.parse_args()
    if flags.verb == "make":
        make(flags.folder)
        if flags.zip:
            shutil.make_archive(str(flags.folder), "zip", flags.folder)
        return 0
    faults = check(flags.folder)
    print(*faults, sep="\n")
    return bool(faults)


def make(folder: Path) -> None:
    """Writes requests by the server's own log, the tiny BERT in both forms, and what made them."""
    folder.mkdir(parents=True)
    _write_log(folder / "requests")
    for form in FORMS:
        hf_bert.convert(hf_checkpoint.read_checkpoint(TINY_BERT), folder / form, computation=form)
    made_by = {name: importlib.metadata.version(name) for name in ("tfx", "tensorflow")}
    record = {**made_by, "converter": hf_checkpoint.CONVERTER_VERSION}
    (folder / MADE_BY).write_text(json.dumps(record) + "\n", encoding="utf-8")


def _write_log(prefix: Path) -> None:
    config = logging_config_pb2.LoggingConfig()
    config.sampling_config.sampling_rate = 1.0
    config.log_collector_config.type = "tfrecord"
    config.log_collector_config.filename_prefix = str(prefix)
    log = RequestLog()
    log.configure([ModelSettings("shoes", "/models", logging=config)])

    def answer(request_id: str, texts: list[str]) -> None:
        api.begin_request(request_id)
        log.offer("shoes", lambda: _predict_log(texts))

    for request_id, texts in CALLS:
        contextvars.copy_context().run(answer, request_id, texts)
    log.close()


def _predict_log(texts: list[str]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([text.encode() for text in texts]))
    answers = {
        "label": [b"good"] * len(texts),
        "labels": [[b"bad", b"good"]] * len(texts),
        "probabilities": [[0.25, 0.75]] * len(texts),
    }
    for name, values in answers.items():
        log.predict_log.response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    log.predict_log.response.model_spec.name = "shoes"
    log.predict_log.response.model_spec.version.value = 7
    return log


def check(folder: Path) -> list[str]:
    """What of a folder that `make` wrote this stack cannot read, or reads otherwise."""
    return check_log(folder) + [fault for form in FORMS for fault in check_encoder(folder / form)]


def check_log(folder: Path) -> list[str]:
    """What differs in the request log."""
    logs = request_logs.read_folder(folder)
    rows = [(t.id, t.columns["text"].decode(), t.label, t.probabilities["good"]) for t in logs.texts]
    faults = [f"{folder}: {damage}" for damage in logs.damage]
    if rows != ROWS:
        faults.append(f"{folder}: the request log holds {rows}, not {ROWS}")
    return faults


def check_encoder(path: Path) -> list[str]:
    """What differs in an encoder's answers from torch's, or does not train."""
    reference = np.load(TINY_BERT / "reference.npz")
    inputs = {name: tf.constant(reference[name]) for name in bert_task.ENCODER_INPUTS}
    real = reference["input_mask"] > 0
    layer = hub.KerasLayer(str(path), trainable=True)
    outputs = layer(inputs, training=False)
    apart = {
        "pooled_output": np.abs(outputs["pooled_output"] - reference["pooled_output"]).max(),
        "sequence_output": np.abs(outputs["sequence_output"] - reference["sequence_output"])[real].max(),
    }
    faults = [
        f"{path}: {name} is {far:g} from torch's" for name, far in apart.items() if not far <= MOST_APART
    ]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs, training=True)["pooled_output"] ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    if len(gradients) != 31 or any(gradient is None for gradient in gradients):
        faults.append(f"{path}: not every one of its 31 weights trains")
    return faults


if __name__ == "__main__":
    sys.exit(main())
