"""The converted BERT: it computes what torch computes, in both forms, and trains under hub.KerasLayer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from bert_task import ENCODER_INPUTS
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.eager import context

from bert_pipeline.encoders import hf_bert, hf_checkpoint, resolve
from bert_pipeline.encoders.bert_graph import PADDED, REAL_TOKENS

FORMS = (REAL_TOKENS, PADDED)


LAYER_0_NAMES = [
    "layer_0/attention/qkv/kernel:0",
    "layer_0/attention/qkv/bias:0",
    "layer_0/attention/output/kernel:0",
    "layer_0/attention/output/bias:0",
    "layer_0/attention/LayerNorm/gamma:0",
    "layer_0/attention/LayerNorm/beta:0",
    "layer_0/intermediate/kernel:0",
    "layer_0/intermediate/bias:0",
    "layer_0/output/kernel:0",
    "layer_0/output/bias:0",
    "layer_0/LayerNorm/gamma:0",
    "layer_0/LayerNorm/beta:0",
]


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> dict[str, np.ndarray]:
    """Inputs and torch's outputs; 4 rows of 1, 7, 24 and 12 tokens."""
    return dict(np.load(tiny_checkpoint / "reference.npz"))


@pytest.fixture(scope="module")
def modules(tiny_checkpoint: Path) -> dict[str, tf.train.Checkpoint]:
    """The tiny BERT in both forms, without dropout, not saved."""
    checkpoint = _without_dropout(hf_checkpoint.read_checkpoint(tiny_checkpoint))
    vocab_path = tiny_checkpoint / "vocab.txt"
    return {form: hf_bert.build_module(checkpoint, computation=form, vocab_path=vocab_path) for form in FORMS}


def _without_dropout(checkpoint: hf_checkpoint.HfCheckpoint) -> hf_checkpoint.HfCheckpoint:
    shape = dataclasses.replace(checkpoint.shape, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return dataclasses.replace(checkpoint, shape=shape)


def _inputs(source: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(source[name]) for name in ENCODER_INPUTS}


def _filled(batch: int, length: int, *, mask: int) -> dict[str, tf.Tensor]:
    values = dict(zip(ENCODER_INPUTS, (7 * mask, mask, 0), strict=True))
    return {name: tf.fill([batch, length], value) for name, value in values.items()}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_equal_torch(form, modules, reference):
    outputs = modules[form].__call__(_inputs(reference), training=False)
    real = reference["input_mask"] > 0
    np.testing.assert_allclose(outputs["pooled_output"], reference["pooled_output"], atol=1e-5)
    np.testing.assert_allclose(
        outputs["sequence_output"].numpy()[real], reference["sequence_output"][real], atol=1e-5
    )
    assert outputs["default"] is outputs["pooled_output"] or np.array_equal(
        outputs["default"], outputs["pooled_output"]
    )


def test_real_tokens_form_gives_zero_at_padding(modules, reference):
    sequence = modules[REAL_TOKENS].__call__(_inputs(reference), training=False)["sequence_output"].numpy()
    assert np.all(sequence[reference["input_mask"] == 0] == 0.0)


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_padding_alone_gives_zero(training, modules):
    outputs = modules[REAL_TOKENS].__call__(_filled(2, 5, mask=0), training=training)
    assert np.all(outputs["sequence_output"].numpy() == 0.0)


def test_no_scatter_in_inference(modules):
    """It is the op that grew slower in TensorFlow 2.21; in training its gradient is the faster one."""
    spec = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in ENCODER_INPUTS}
    scatters = {}
    for training in (False, True):
        graph = modules[REAL_TOKENS].__call__.get_concrete_function(spec, training=training).graph
        scatters[training] = sum(op.type == "ScatterNd" for op in graph.get_operations())
    assert scatters == {False: 0, True: 3}  # two layers and the output


def test_both_forms_have_equal_gradients(modules, reference):
    gradients = {}
    for form, module in modules.items():
        with tf.GradientTape() as tape:
            outputs = module.__call__(_inputs(reference), training=True)
            real = tf.cast(reference["input_mask"], tf.float32)[:, :, None]
            loss = tf.reduce_sum(tf.sin(outputs["sequence_output"]) * real)
            loss += tf.reduce_sum(tf.square(outputs["pooled_output"]))
        gradients[form] = tape.gradient(loss, module.trainable_variables)
    for variable, real, padded in zip(
        modules[PADDED].trainable_variables, gradients[REAL_TOKENS], gradients[PADDED], strict=True
    ):
        real, padded = tf.convert_to_tensor(real), tf.convert_to_tensor(padded)
        assert float(tf.reduce_max(tf.abs(padded))) > 1e-3 or "qkv/bias" in variable.name, variable.name
        np.testing.assert_allclose(real, padded, atol=2e-5, rtol=1e-4, err_msg=variable.name)


def test_a_masked_hole_keeps_the_positions_of_what_follows(modules, reference):
    inputs = _inputs(reference)
    inputs["input_mask"] = tf.tensor_scatter_nd_update(inputs["input_mask"], [[2, 5]], [0])
    real, padded = (modules[form].__call__(inputs, training=False)["pooled_output"] for form in FORMS)
    np.testing.assert_allclose(real, padded, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_odd_batches(form, modules):
    call = modules[form].__call__
    only_padding = call(_filled(2, 5, mask=0), training=False)
    assert np.all(np.isfinite(only_padding["pooled_output"]))
    assert call(_filled(0, 5, mask=1), training=False)["sequence_output"].shape == (0, 5, 32)
    assert call(_filled(1, 64, mask=1), training=False)["pooled_output"].shape == (1, 32)
    with pytest.raises(tf.errors.InvalidArgumentError):  # position 64 of 64
        call(_filled(1, 65, mask=1), training=False)


def test_keras_layer_trains_every_weight(tiny_encoder: resolve.Encoder, reference):
    layer = hub.KerasLayer(tiny_encoder.path, trainable=True)
    with tf.GradientTape() as tape:
        outputs = layer(_inputs(reference), training=True)
        loss = tf.reduce_sum(outputs["pooled_output"] ** 2) + tf.reduce_sum(outputs["sequence_output"] ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert len(gradients) == 31
    assert all(gradient is not None for gradient in gradients)


def test_dropout_is_on_in_training_only_and_repeats_after_loading(tiny_encoder: resolve.Encoder, reference):
    def outputs(training: bool, calls: int) -> list[np.ndarray]:
        model = tf.saved_model.load(tiny_encoder.path)
        return [model(_inputs(reference), training=training)["pooled_output"].numpy() for _ in range(calls)]

    first, second = outputs(True, 2)
    plain, again = outputs(False, 2)
    np.testing.assert_array_equal(plain, again)
    assert np.abs(first - plain).max() > 0.01
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(outputs(True, 1)[0], first)


def test_saved_model_is_a_hub_text_encoder(tiny_encoder: resolve.Encoder):
    model = tf.saved_model.load(tiny_encoder.path)
    assert model.vocab_file.asset_path.numpy().decode() == tiny_encoder.vocab_path
    assert bool(model.do_lower_case.numpy()) is True
    assert model.regularization_losses == []
    assert [v.name for v in model.variables if v.name.startswith("layer_0/")] == LAYER_0_NAMES
    assert len(model.trainable_variables) == len(model.variables) == 31


def test_few_functions_are_traced(tiny_encoder: resolve.Encoder):
    # Each is restored and traced again by every load: 2 calls, saving and restoring, and their wrappers.
    proto = saved_model_pb2.SavedModel.FromString((Path(tiny_encoder.path) / "saved_model.pb").read_bytes())
    assert len(proto.meta_graphs[0].graph_def.library.function) <= 8


def test_without_a_pooler_position_zero_is_pooled(tiny_checkpoint: Path, reference):
    checkpoint = hf_checkpoint.read_checkpoint(tiny_checkpoint)
    headless = dataclasses.replace(checkpoint, has_pooler=False)
    module = hf_bert.build_module(headless, computation=REAL_TOKENS, vocab_path=tiny_checkpoint / "vocab.txt")
    outputs = module.__call__(_inputs(reference), training=False)
    np.testing.assert_array_equal(outputs["pooled_output"], outputs["sequence_output"][:, 0])


def test_gelu_is_fused_into_the_product_before_it(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """On the TensorFlow that is installed."""
    checkpoint = hf_checkpoint.read_checkpoint(tiny_checkpoint)
    module = hf_bert.build_module(
        checkpoint, computation=REAL_TOKENS, vocab_path=tiny_checkpoint / "vocab.txt"
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    signature = [{name: tf.TensorSpec([None, None], tf.int32) for name in ENCODER_INPUTS}]
    run = tf.function(lambda x: loaded(x, training=False)["pooled_output"], input_signature=signature)
    context.context().enable_graph_collection()
    run(_filled(2, 8, mask=1))
    metadata = context.context().export_run_metadata()
    context.context().disable_graph_collection()
    graphs = [graph for function in metadata.function_graphs for graph in function.partition_graphs]
    ops = {node.op for graph in graphs for node in graph.node}
    if not any(op.startswith("_Mkl") for op in ops):
        pytest.skip("oneDNN is off on this processor")
    assert "_MklNativeFusedMatMul" in ops
    assert not {"Erf", "Erfc"} & ops
