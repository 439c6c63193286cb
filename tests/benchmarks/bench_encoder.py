"""Measures the converted encoder: loading, batch-1 latency, throughput and training step of both forms.

    python tests/benchmarks/bench_encoder.py [--handle all-MiniLM-L6-v2] [--batches 10]

Lengths are drawn like those of short reviews: 3 + Gamma(3, 8) tokens, at most 64, in random order (about half
of each batch is padding). Both forms take turns, so that a busy machine harms them equally; the best of the
repetitions is printed, which is what the machine can do.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
from bert_task import ENCODER_INPUTS, EncoderConfig
from tensorflow.core.protobuf import saved_model_pb2

from bert_pipeline.encoders import resolve

Inputs = dict[str, tf.Tensor]
SIGNATURE = [{name: tf.TensorSpec([None, None], tf.int32) for name in ENCODER_INPUTS}]


def draw_inputs(batch: int, *, length: int | None = None, seed: int = 0) -> Inputs:
    """A batch of random word ids: int32 [batch, longest]; every row `length` long, or lengths drawn."""
    random = np.random.default_rng(seed)
    lengths = 3 + random.gamma(3.0, 8.0, batch).astype(int)
    lengths = np.full(batch, length) if length else np.clip(lengths, 4, 64)
    mask = np.arange(lengths.max())[None] < lengths[:, None]
    word_ids = random.integers(1000, 30000, mask.shape) * mask
    values = {"input_word_ids": word_ids, "input_mask": mask, "input_type_ids": mask * 0}
    return {name: tf.constant(values[name].astype(np.int32)) for name in ENCODER_INPUTS}


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def inference(model: tf.Module) -> Callable[[Inputs], tf.Tensor]:
    """The pooled output alone, traced once for all shapes."""
    return tf.function(lambda x: model(x, training=False)["pooled_output"], input_signature=SIGNATURE)


def training_step(path: str) -> Callable[[Inputs], tf.Tensor]:
    """All gradients of a loss on the pooled output, summed up so that none is pruned; with dropout."""
    layer = hub.KerasLayer(path, trainable=True)

    def step(inputs: Inputs) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs, training=True)["pooled_output"] ** 2)
        return tf.linalg.global_norm(tape.gradient(loss, layer.trainable_weights))

    return tf.function(step, input_signature=SIGNATURE)


def main() -> None:
    """Prints one block of figures for each form, and how they relate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--handle", default=EncoderConfig().handle)
    parser.add_argument("--cache-dir", type=Path, default=resolve.default_cache_dir())
    parser.add_argument("--batches", type=int, default=10)
    arguments = parser.parse_args()
    single, batches = draw_inputs(1, length=29), [draw_inputs(32, seed=i) for i in range(arguments.batches)]
    real = np.mean([float(tf.reduce_mean(tf.cast(b["input_mask"], tf.float32))) for b in batches])
    print(f"batch 32, padded to the longest of the batch: {1 - real:.0%} padding")
    latency: dict[str, list[float]] = {}
    answering: dict[str, list[float]] = {}
    learning: dict[str, list[float]] = {}
    runs = {}
    for form in ("real_tokens", "padded"):
        config = EncoderConfig(handle=arguments.handle, computation=form)
        path = resolve.resolve_encoder(
            config, cache_dir=arguments.cache_dir, base_dir=Path.cwd(), progress=print
        ).path
        model: list[tf.Module] = []
        load = seconds(lambda path=path, model=model: model.append(tf.saved_model.load(path)))
        proto = saved_model_pb2.SavedModel.FromString((Path(path) / "saved_model.pb").read_bytes())
        functions = len(proto.meta_graphs[0].graph_def.library.function)
        print(f"{form}: loads in {load:.2f} s, {functions} functions, {proto.ByteSize() / 1e6:.2f} MB graph")
        infer, step = inference(model[0]), training_step(path)
        for batch in (single, batches[0]):
            infer(batch)
        step(batches[0])
        runs[form] = infer, step
        latency[form], answering[form], learning[form] = [], [], []
    for batch in batches:
        for form, (infer, step) in runs.items():
            latency[form] += [seconds(lambda f=infer: f(single).numpy()) for _ in range(10)]
            answering[form].append(
                seconds(lambda f=infer, b=batch: f(b).numpy()) / float(len(batch["input_mask"]))
            )
            learning[form].append(
                seconds(lambda f=step, b=batch: f(b).numpy()) / float(len(batch["input_mask"]))
            )
    for form in runs:
        print(
            f"{form}: batch 1 of 29 tokens {1e3 * min(latency[form]):.1f} ms (median"
            f" {1e3 * np.median(latency[form]):.1f}); inference {1 / min(answering[form]):.0f} texts/s (median"
            f" {1 / np.median(answering[form]):.0f}); gradients {1 / min(learning[form]):.0f} examples/s (median"
            f" {1 / np.median(learning[form]):.0f})"
        )


if __name__ == "__main__":
    main()
