"""The exported model: one small SavedModel with three signatures, from raw text to class probabilities.

The Keras model itself is not saved: loading would rebuild a traced function for each layer and mode and
the optimizer's variables, which serving does not use. The export has only the weights and the signatures,
and stores graphs shared by signatures once. MiniLM-L6 with `Model.save`: 4,192 nodes in 68 functions,
253 variables, loads in 1.5 s; with this export: 2,265 in 42, 82 variables, 0.6 s (CPU seconds).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import bert_export_form
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras
from bert_task import ENCODER_INPUTS, LABEL_ID, DataConfig

# Signature names: clients call the first one, TFX's components the others.
SERVING_DEFAULT = "serving_default"
SERVE_EXAMPLES = "serve_examples"
TRANSFORM_FEATURES = "transform_features"

Tensors = dict[str, tf.Tensor]


def export(
    model: tf_keras.Model,
    *,
    transform_output: tft.TFTransformOutput,
    data: DataConfig,
    export_dir: str,
    form: str = "float32",
) -> None:
    """Writes the SavedModel, which needs only tensorflow and tensorflow_text to load.

    Its signatures, with num_labels = len(data.labels):

        serving_default: each text column, string [batch] -> label string [batch], labels string
            [batch, num_labels] (the names, in order), probabilities float32 [batch, num_labels].
        serve_examples: `examples`, string [batch] of serialized tf.Examples with the raw features, no
            label needed -> the same, but label [batch, 1]: TFX's BulkInferrer wants rank 2.
        transform_features: `examples` as above -> ENCODER_INPUTS int64 [batch, longest], 0 where
            padded, and label_id int64 [batch], -1 where the label is missing or unknown.

    Args:
        model: of `bert_model.build_model`, trained; outside any distribution strategy.
        transform_output: has the graph of the training's ids; the same graph is exported.
        data: names the text columns and the labels.
        export_dir: folder; replaced atomically.
        form: `ExportConfig.form`. Other than in float32, the float32 weights are in the folder
            `float32_weights_dir(export_dir)`, for a warm start; no server reads it.
    """
    transform = transform_output.transform_features_layer()
    raw_spec = transform_output.raw_feature_spec()
    exported = bert_export_form.in_form(model, form=form)
    signatures = make_signatures(exported.logits, transform=transform, raw_spec=raw_spec, data=data)
    root = tf.train.Checkpoint(weights=exported.weights, resources=_resources(transform))
    partial_dir = export_dir.rstrip("/") + ".partial"
    if tf.io.gfile.exists(partial_dir):
        tf.io.gfile.rmtree(partial_dir)
    # Drop gradient functions of the encoder: serving never differentiates.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(root, partial_dir, signatures=signatures, options=options)
    if form != "float32":
        tf.saved_model.save(tf.train.Checkpoint(weights=model.weights), float32_weights_dir(partial_dir))
    if tf.io.gfile.exists(export_dir):
        tf.io.gfile.rmtree(export_dir)
    tf.io.gfile.rename(partial_dir, export_dir)


def float32_weights_dir(export_dir: str) -> str:
    """Where an export in another form keeps its float32 weights, as a SavedModel without a signature."""
    return os.path.join(export_dir, "assets.extra", "float32_weights")


def make_signatures(
    logits: Callable[[Tensors], tf.Tensor],
    *,
    transform: Callable[[dict[str, Any]], dict[str, Any]],
    raw_spec: dict[str, Any],
    data: DataConfig,
) -> dict[str, Any]:
    """Traces the three signatures of `export`.

    Args:
        logits: of `bert_export_form.Form`.
        transform: raw features -> transformed features; needs only the texts.
        raw_spec: parsing spec of the raw features, by column.
        data: as in `export`.

    Returns:
        Concrete functions by signature name.
    """
    text_spec = {column: raw_spec[column] for column in data.text}
    labelled_spec = text_spec | {data.label: _with_default(raw_spec[data.label])}

    # One function each, so the signatures share them in the file.
    @tf.function(input_signature=[{n: tf.TensorSpec([None, None], tf.int64, name=n) for n in ENCODER_INPUTS}])
    def classify(inputs: Tensors) -> Tensors:
        encoder_inputs = {name: tf.cast(inputs[name], tf.int32) for name in ENCODER_INPUTS}
        return _answers(tf.nn.softmax(logits(encoder_inputs)), labels=data.labels)

    @tf.function
    def serving_default(**texts: tf.Tensor) -> Tensors:
        raw = {column: _as_parsed(texts[column], text_spec[column]) for column in data.text}
        return classify(_encoder_inputs(transform(raw)))

    @tf.function
    def serve_examples(examples: tf.Tensor) -> Tensors:
        answers = classify(_encoder_inputs(transform(tf.io.parse_example(examples, text_spec))))
        return answers | {"label": answers["label"][:, tf.newaxis]}

    @tf.function
    def transform_features(examples: tf.Tensor) -> Tensors:
        features = transform(tf.io.parse_example(examples, labelled_spec))
        return _encoder_inputs(features) | {LABEL_ID: features[LABEL_ID]}

    text = {column: tf.TensorSpec([None], tf.string, name=column) for column in data.text}
    examples = tf.TensorSpec([None], tf.string, name="examples")
    return {
        SERVING_DEFAULT: serving_default.get_concrete_function(**text),
        SERVE_EXAMPLES: serve_examples.get_concrete_function(examples),
        TRANSFORM_FEATURES: transform_features.get_concrete_function(examples),
    }


def _answers(probabilities: tf.Tensor, *, labels: tuple[str, ...]) -> Tensors:
    """The outputs for a client, from probabilities float32 [batch, num_labels]."""
    names = tf.constant(labels)
    return {
        "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
        "labels": tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1]),
        "probabilities": probabilities,
    }


def _encoder_inputs(features: dict[str, Any]) -> Tensors:
    return {name: _padded(features[name]) for name in ENCODER_INPUTS}


def _padded(ids: tf.RaggedTensor) -> tf.Tensor:
    """[[101, 7, 102], [101, 102]] -> [[101, 7, 102], [101, 102, 0]]."""
    padded = ids.to_tensor()
    # An empty batch has no longest text; use one column, because encoders read position 0.
    return tf.pad(padded, [[0, 0], [0, tf.cast(tf.shape(padded)[1] == 0, tf.int32)]])


def _with_default(spec: Any) -> Any:
    """The label's spec with the default "" (a sparse feature may already be missing)."""
    return spec._replace(default_value="") if isinstance(spec, tf.io.FixedLenFeature) else spec


def _as_parsed(texts: tf.Tensor, spec: Any) -> tf.Tensor | tf.SparseTensor:
    """Texts, string [batch], in the form of tf.Examples parsed by `spec`."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return texts[:, tf.newaxis]
    num_rows = tf.size(texts, out_type=tf.int64)
    rows = tf.range(num_rows)
    return tf.SparseTensor(tf.stack([rows, tf.zeros_like(rows)], axis=1), texts, [num_rows, 1])


def _resources(transform: tf_keras.Model) -> list[Any]:
    """Tables and files of the transform graph, to save with it."""
    kinds = (tf.saved_model.Asset, tf.saved_model.experimental.TrackableResource)
    return [part for part in tf.train.TrackableView(transform).descendants() if isinstance(part, kinds)]
