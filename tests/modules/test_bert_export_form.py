"""An export in bfloat16: what it computes with, how far its answers lie from float32, and what is kept beside it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import bert_export_form
import bert_job
import bert_model
import bert_signatures
import bert_task
import bert_trainer
import bert_warm_start
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bert_pipeline.components import op_audit

# `toy` and `trained` come from conftest.py, and so do their types.

needs_bfloat16 = pytest.mark.skipif(
    not bert_export_form.read_cpu_flags() & {"avx512bw", "bf16"}, reason="no processor of oneDNN's bfloat16"
)
pytestmark = needs_bfloat16
TEXTS = [
    f"{start} {word} {end}"
    for word in ("hate", "love", "not")
    for start in ("shoe", "the sole", "it was very, very")
    for end in ("heel!", "a fit", "and i am this are is")
]
# Whole words of the labels, no text, and a text that is cut.
HARD_TEXTS = ["love", "hate", "not", "", "love " * 40, "the shoe"]


@pytest.fixture(scope="module")
def bfloat16_dir(toy: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The trained toy, exported in bfloat16."""
    job = bert_job.make_job(trained.fn_args)
    model = job.build_model()
    model.load_weights(job.weights_path)
    export_dir = str(tmp_path_factory.mktemp("bfloat16") / "Format-Serving")
    bert_signatures.export(
        model, transform_output=toy.output, data=job.data, export_dir=export_dir, form="bfloat16"
    )
    return export_dir


def _serve(saved_model_dir: str, texts: list[str]) -> dict[str, np.ndarray]:
    answers = tf.saved_model.load(saved_model_dir).signatures["serving_default"](
        review=tf.constant(texts, tf.string)
    )
    return {name: tensor.numpy() for name, tensor in answers.items()}


def _meta_graph(saved_model_dir: str) -> Any:
    content = pathlib.Path(saved_model_dir, "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]


@pytest.mark.parametrize("texts", [TEXTS, HARD_TEXTS], ids=["plain", "hard"])
def test_answers_lie_near_those_of_float32(trained: Any, bfloat16_dir: str, texts: list[str]) -> None:
    exact, near = (_serve(path, texts) for path in (trained.fn_args.serving_model_dir, bfloat16_dir))
    assert near["probabilities"].dtype == np.float32
    np.testing.assert_allclose(near["probabilities"], exact["probabilities"], atol=0.02)
    assert not np.array_equal(near["probabilities"], exact["probabilities"])
    assert near["label"].tolist() == exact["label"].tolist()


def test_no_texts_and_one_are_answered(bfloat16_dir: str) -> None:
    assert [_serve(bfloat16_dir, ["love"] * n)["probabilities"].shape for n in (0, 1)] == [(0, 3), (1, 3)]


def test_products_of_the_encoder_are_of_bfloat16_constants(bfloat16_dir: str) -> None:
    """Two layers of attention in, attention out, and two of the feed-forward part; then the pooler, and the head."""
    functions = _meta_graph(bfloat16_dir).graph_def.library.function
    types: dict[str, list[int]] = {"MatMul": [], "BatchMatMulV2": []}
    for function in functions:
        for node in function.node_def:
            if node.op in types:
                types[node.op].append(node.attr["T"].type)
    bfloat16, float32 = tf.bfloat16.as_datatype_enum, tf.float32.as_datatype_enum
    assert sorted(types["MatMul"]) == [float32] + [bfloat16] * (2 * 4 + 1)
    assert types["BatchMatMulV2"] == [bfloat16] * (2 * 2)
    variables = [name for name, _ in tf.train.list_variables(f"{bfloat16_dir}/variables/variables")]
    assert sum(name.startswith("weights/") for name in variables) == 3 + 2  # tables, and the head's


@pytest.mark.parametrize("release", op_audit.known_versions())
def test_ops_are_those_of_each_known_release_of_tf_serving(bfloat16_dir: str, release: str) -> None:
    assert op_audit.missing_ops(bfloat16_dir, tf_serving_version=release) == []
    assert not [op for op in op_audit.used_ops(bfloat16_dir) if op.startswith("_")]


WITHOUT = """
import sys
import tensorflow as tf
import tensorflow_text
answers = tf.saved_model.load(sys.argv[1]).signatures["serving_default"](review=tf.constant(sys.argv[2:]))
print(*answers["label"].numpy().tolist(), answers["probabilities"].numpy().max())
"""


def test_a_processor_without_bfloat16_computes_it_by_plain_kernels(trained: Any, bfloat16_dir: str) -> None:
    command = [sys.executable, "-c", WITHOUT, bfloat16_dir, "love", "hate"]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("b'good' b'bad' "), done.stderr[-3000:]
    exact = _serve(trained.fn_args.serving_model_dir, ["love", "hate"])["probabilities"].max()
    assert float(done.stdout.split()[-1]) == pytest.approx(exact, abs=0.02)


def test_a_warm_start_takes_the_float32_weights(trained: Any, bfloat16_dir: str) -> None:
    model = bert_model.build_model(
        trained.encoder.path, num_labels=3, pooling="pooled_output", training=trained.training
    )
    done = bert_warm_start.restore(model, base_model=bfloat16_dir, labels=trained.data.labels)
    exact = tf.saved_model.load(trained.fn_args.serving_model_dir).weights
    assert (done.head, done.num_weights) == ("kept", len(exact))
    for mine, theirs in zip(model.weights, exact, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.name)


def test_the_trainer_writes_the_form_and_notes_it(toy: Any, trained: Any, tmp_path: pathlib.Path) -> None:
    training = bert_task.TrainingConfig(epochs=1, batch_size=48, held_out_share=0.4)
    fn_args = toy.fn_args(tmp_path, encoder_path=trained.encoder.path, training=training)
    fn_args.custom_config["export"] = bert_task.to_json(bert_task.ExportConfig(form="bfloat16"))
    bert_trainer.run_fn(fn_args)
    assert pathlib.Path(bert_signatures.float32_weights_dir(fn_args.serving_model_dir)).is_dir()
    assert json.loads((tmp_path / "model_run" / "training.json").read_text())["export"] == {
        "form": "bfloat16"
    }


def test_weights_that_no_graph_holds_are_refused(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_export_form, "_MAX_BYTES", 1000)
    model = bert_job.make_job(trained.fn_args).build_model()
    with pytest.raises(
        ValueError, match=r"export\.form = 'bfloat16' writes .* these have 0\.0 GiB; use float32"
    ):
        bert_export_form.in_form(model, form="bfloat16")


def test_a_processor_that_cannot_write_it_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_export_form, "read_cpu_flags", lambda: frozenset({"avx2"}))
    bert_export_form.check_form(bert_task.ExportConfig())
    with pytest.raises(ValueError, match=r"^export\.form = 'bfloat16' needs a CPU with AVX-512"):
        bert_export_form.check_form(bert_task.ExportConfig(form="bfloat16"))
