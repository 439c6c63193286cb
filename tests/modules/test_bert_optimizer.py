"""Learning rate, weight decay and precision."""

from __future__ import annotations

import bert_optimizer
import bert_task
import pytest
import tensorflow as tf
import tf_keras

TRAINING = bert_task.TrainingConfig


def test_rate_rises_to_the_peak_and_falls_to_zero() -> None:
    schedule = bert_optimizer.WarmupLinearDecay(0.8, num_steps=10, warmup_fraction=0.2)
    rates = [round(float(schedule(step)), 6) for step in range(11)]
    assert rates == [0.4, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def test_a_training_of_one_step_moves_at_the_peak() -> None:
    assert float(bert_optimizer.WarmupLinearDecay(0.8, num_steps=1, warmup_fraction=0.1)(0)) == pytest.approx(
        0.8
    )


def _model() -> tf_keras.Model:
    dense = tf_keras.layers.Dense(
        2, input_shape=[3], kernel_initializer="ones", bias_initializer="ones", name="head"
    )
    return tf_keras.Sequential([dense, tf_keras.layers.LayerNormalization(name="norm")])


def test_weight_decay_spares_biases_and_layer_norms() -> None:
    model = _model()
    schedule = bert_optimizer.WarmupLinearDecay(0.5, num_steps=1, warmup_fraction=1.0)
    optimizer = bert_optimizer.make_optimizer(model, training=TRAINING(weight_decay=0.1), schedule=schedule)
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in model.trainable_variables])
    values = {v.name: float(v.numpy().flat[0]) for v in model.trainable_variables}
    assert values == {
        "head/kernel:0": pytest.approx(0.95),  # 1 - 0.5 * 0.1
        "head/bias:0": 1.0,
        "norm/gamma:0": 1.0,
        "norm/beta:0": 0.0,
    }


@pytest.mark.parametrize(
    ("name", "shape", "decays"),
    [
        ("layer_0/attention/qkv/kernel", [4, 12], True),
        ("embeddings/word_embeddings", [9, 4], True),
        ("layer_0/attention/qkv/bias", [12], False),
        ("transformer/layer_0/self_attention/query/bias", [2, 2], False),
        ("embeddings/LayerNorm/gamma", [4], False),
    ],
)
def test_decay_goes_by_rank_and_name(name: str, shape: list[int], decays: bool) -> None:
    assert bert_optimizer.has_weight_decay(tf.Variable(tf.zeros(shape), name=name)) is decays


@pytest.mark.parametrize(("clip_norm", "norm"), [(1.0, 1.0), (0.0, 50.0)])
def test_gradients_are_clipped_by_their_global_norm(clip_norm: float, norm: float) -> None:
    model = _model()
    schedule = bert_optimizer.WarmupLinearDecay(0.5, num_steps=1, warmup_fraction=1.0)
    optimizer = bert_optimizer.make_optimizer(
        model, training=TRAINING(clip_norm=clip_norm), schedule=schedule
    )
    gradients = [tf.zeros_like(v) for v in model.trainable_variables[2:]]
    gradients = [tf.fill([3, 2], tf.constant(50 / 6**0.5)), tf.zeros([2]), *gradients]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    # Adam's first momentum is (1 - 0.9) times the gradient as it arrived.
    momentums = [v for v in optimizer.variables if "m/" in v.name]
    assert float(tf.linalg.global_norm(momentums)) == pytest.approx(0.1 * norm, rel=1e-5)


@pytest.mark.parametrize(
    ("precision", "has_gpu", "flags", "message"),
    [
        ("float16", False, [], r"training\.precision = 'float16' needs a GPU .* use bfloat16 or float32"),
        (
            "bfloat16",
            True,
            [],
            r"training\.precision = 'bfloat16' is for CPUs only .* use float16 or float32",
        ),
        (
            "bfloat16",
            False,
            ["avx2"],
            r"training\.precision = 'bfloat16' needs a CPU with AVX-512 .* use float32",
        ),
        ("int8", False, [], r"training\.precision = 'int8' is unknown; use float32, bfloat16 or float16"),
    ],
)
def test_a_precision_without_effect_is_refused(
    precision: str, has_gpu: bool, flags: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bert_optimizer.check_precision(precision, has_gpu=has_gpu, cpu_flags=frozenset(flags))


@pytest.mark.parametrize(
    ("precision", "has_gpu", "flags"),
    [("float32", False, []), ("float32", True, []), ("float16", True, []), ("bfloat16", False, ["avx512bw"])],
)
def test_a_precision_with_effect_is_accepted(precision: str, has_gpu: bool, flags: list[str]) -> None:
    bert_optimizer.check_precision(precision, has_gpu=has_gpu, cpu_flags=frozenset(flags))


def test_process_is_as_before_after_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    option = "auto_mixed_precision_onednn_bfloat16"
    monkeypatch.setattr(bert_optimizer, "read_cpu_flags", lambda: frozenset({"avx512bw"}))
    with pytest.raises(KeyError), bert_optimizer.arithmetic("bfloat16"):
        assert tf.config.optimizer.get_experimental_options()[option] is True
        raise KeyError
    assert not tf.config.optimizer.get_experimental_options().get(option)


def test_float16_scales_the_loss() -> None:
    model = _model()
    schedule = bert_optimizer.WarmupLinearDecay(0.5, num_steps=1, warmup_fraction=1.0)
    optimizer = bert_optimizer.make_optimizer(
        model, training=TRAINING(precision="float16"), schedule=schedule
    )
    assert isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
