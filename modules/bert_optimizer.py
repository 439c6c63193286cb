"""The optimizer: AdamW, its learning rate schedule, and the precision of the arithmetic."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import tensorflow as tf
import tf_keras
from bert_task import TrainingConfig

# As in https://github.com/google-research/bert/blob/master/optimization.py. Also large enough to damp
# gradients that are zero up to rounding (those of the key biases), which Adam would otherwise scale up.
ADAM_EPSILON = 1e-6

# Grappler rewrites the graph to the lower precision; the variables stay float32
# (https://www.tensorflow.org/api_docs/python/tf/config/optimizer/set_experimental_options).
GRAPPLER_OPTIONS = {"bfloat16": "auto_mixed_precision_onednn_bfloat16", "float16": "auto_mixed_precision"}


class WarmupLinearDecay(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the peak, then falls linearly to 0 (Devlin et al. 2018, A.2).

    With peak 1 and 10 steps, 2 of them warm-up: 0.5, 1, 1, 0.875, 0.75, ..., 0.125. The rate of the first
    and of the last step is above 0.
    """

    def __init__(self, peak: float, *, num_steps: int, warmup_fraction: float) -> None:
        """Sets the peak rate, the total number of steps, and the share of warm-up steps."""
        self.peak = peak
        self.num_steps = num_steps
        self.warmup_fraction = warmup_fraction
        self.num_warmup_steps = max(1, round(num_steps * warmup_fraction))

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Rate of step 0, 1, ...: float32 []."""
        step = tf.cast(step, tf.float32)
        rising = (step + 1) / self.num_warmup_steps
        falling = (self.num_steps - step) / max(1, self.num_steps - self.num_warmup_steps)
        return self.peak * tf.clip_by_value(tf.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        """Arguments of the constructor."""
        return {"peak": self.peak, "num_steps": self.num_steps, "warmup_fraction": self.warmup_fraction}


def has_weight_decay(variable: tf.Variable) -> bool:
    """Whether AdamW decays a variable: matrices, but not biases or layer norm scales.

    Checks the rank, because an encoder from TF Hub may use any variable names, and the name, because
    Keras's EinsumDense stores attention biases as [heads, size].
    """
    name = variable.name.lower()
    return variable.shape.rank >= 2 and not any(part in name for part in ("bias", "layer_norm", "layernorm"))


def make_optimizer(
    model: tf_keras.Model, *, training: TrainingConfig, schedule: WarmupLinearDecay
) -> tf_keras.optimizers.Optimizer:
    """AdamW for the model's trainable variables (Loshchilov and Hutter 2019).

    Gradients are summed over replicas before clipping, so clipping does not depend on
    the number of replicas.
    """
    optimizer = tf_keras.optimizers.AdamW(
        learning_rate=schedule,
        weight_decay=training.weight_decay,
        epsilon=ADAM_EPSILON,
        global_clipnorm=training.clip_norm or None,
        jit_compile=False,
    )
    undecayed = [v for v in model.trainable_variables if not has_weight_decay(v)]
    optimizer.exclude_from_weight_decay(var_list=undecayed)
    # Create its variables now, not in the first step: Keras would trace that step twice.
    optimizer.build(model.trainable_variables)
    if training.precision == "float16":
        return tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


@contextlib.contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Runs graphs in a precision, and restores the process's settings afterwards.

    Args:
        precision: `TrainingConfig.precision`.

    Raises:
        ValueError: this machine cannot compute in that precision.
    """
    check_precision(
        precision, has_gpu=bool(tf.config.list_physical_devices("GPU")), cpu_flags=read_cpu_flags()
    )
    option = GRAPPLER_OPTIONS.get(precision)
    if option is None:
        yield
        return
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: False})


def check_precision(
    precision: str, *, has_gpu: bool, cpu_flags: frozenset[str], key: str = "training.precision"
) -> None:
    """Raises on a precision that would be ignored, or slower than float32.

    Args:
        precision: `TrainingConfig.precision`.
        has_gpu: whether training will run on a GPU.
        cpu_flags: from `read_cpu_flags`; empty if unknown, which skips the check.
        key: the setting that asks for it.

    Raises:
        ValueError: names the key, the value and the fix.
    """
    problem = None
    if precision not in ("float32", "bfloat16", "float16"):
        problem = "is unknown; use float32, bfloat16 or float16"
    elif precision == "float16" and not has_gpu:
        problem = "needs a GPU and TensorFlow sees none; use bfloat16 or float32 on a CPU"
    elif precision == "bfloat16" and has_gpu:
        problem = "is for CPUs only (graphs are rewritten by oneDNN); use float16 or float32 on a GPU"
    elif precision == "bfloat16" and cpu_flags and not cpu_flags & {"avx512bw", "bf16"}:
        problem = "needs a CPU with AVX-512 or Arm's bf16 (oneDNN), which this one lacks; use float32"
    if problem:
        raise ValueError(f"{key} = {precision!r} {problem}")


def read_cpu_flags() -> frozenset[str]:
    """Instruction sets that Linux reports for the first CPU; empty if not available."""
    report = pathlib.Path("/proc/cpuinfo")
    if not report.exists():
        return frozenset()
    lines = (line.partition(":") for line in report.read_text().splitlines())
    found = next((value for key, _, value in lines if key.strip() in ("flags", "Features")), "")
    return frozenset(found.split())
