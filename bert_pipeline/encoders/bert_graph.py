"""The TensorFlow graph of a BERT (Devlin et al. 2018, https://arxiv.org/abs/1810.04805).

The dense layers do most of the work and are independent of the sequence: they run on a flat [num_tokens, hidden].
Only attention needs rows, so the joint query/key/value product is scattered to [batch, length, ...] and
gathered again. With `real_tokens` the flat tensor has only the tokens under the mask, so padding costs
nothing outside attention; with `padded` it has every position and scattering is a reshape.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import bert_task
import tensorflow as tf

from bert_pipeline.encoders.hf_checkpoint import BertShape

REAL_TOKENS = "real_tokens"
PADDED = "padded"

# Added to the attention score of a masked position, as in the original code: exp(-10000) is 0 in
# float32, and unlike -1e9 it is finite in float16, so a row of padding does not give NaN.
MASKED_SCORE = -10000.0


def gelu(x: tf.Tensor) -> tf.Tensor:
    """The exact GELU, x * Phi(x), of float [...], element by element (Hendrycks and Gimpel, arXiv:1606.08415).

    Written with erf, as tf.nn.gelu of TensorFlow 2.16 is, so that both stacks export the same ops: 2.21 writes it with
    erfc. oneDNN fuses either form into the product before it (looked up in the optimized graphs of both).
    """
    return 0.5 * x * (1.0 + tf.math.erf(x / tf.cast(1.4142135623730951, x.dtype)))


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": gelu,
    "gelu_new": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
}


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The mapping between the flat and the padded tensor.

    places: int32 [num_tokens]; position of each token in the flattened [batch * length]; None if all are present.
    tokens: int32 [batch * length]; the token at each position, arbitrary at padding; None if all are present.
    positions: int32 [num_tokens]; column of each token, its position id.
    batch, length: int32 scalars.
    """

    places: tf.Tensor | None
    tokens: tf.Tensor | None
    positions: tf.Tensor
    batch: tf.Tensor
    length: tf.Tensor

    def collect(self, rows: tf.Tensor) -> tf.Tensor:
        """[batch * length, ...] -> [num_tokens, ...]."""
        return rows if self.places is None else tf.gather(rows, self.places)

    def spread(self, flat: tf.Tensor, *, training: bool) -> tf.Tensor:
        """[num_tokens, width] -> [batch * length, width]; undefined at padding.

        Forward, a gather is faster (TensorFlow 2.21's ScatterNd takes twice the time of 2.16's); backward, a scatter
        is faster, because its gradient is a gather.
        """
        if self.places is None or self.tokens is None:
            return flat
        if not training:
            return tf.gather(flat, self.tokens)
        return tf.scatter_nd(self.places[:, None], flat, [self.batch * self.length, flat.shape[-1]])


class BertGraph:
    """Variables and forward pass of one BERT.

    Attributes:
        weights: name to variable. Names are descriptive (`layer_0/attention/qkv/kernel`), so
            weight decay can exclude `bias` and `LayerNorm`.
    """

    def __init__(self, shape: BertShape, weights: dict[str, tf.Variable], *, computation: str) -> None:
        if computation not in (REAL_TOKENS, PADDED):
            raise ValueError(f"computation must be {REAL_TOKENS} or {PADDED}, got {computation!r}")
        self.shape = shape
        self.weights = weights
        self.computation = computation
        self._num_dropouts = 0

    def encode(self, inputs: dict[str, tf.Tensor], *, training: bool) -> dict[str, tf.Tensor]:
        """One forward pass.

        Args:
            inputs: the three ENCODER_INPUTS, int32 [batch, length]; length is at most max_position_embeddings.
            training: whether dropout is on.

        Returns:
            sequence_output: float32 [batch, length, hidden]; at padding it is 0 (`real_tokens`) or
                undefined (`padded`).
            pooled_output, default: float32 [batch, hidden]; tanh layer over position 0, or, in a checkpoint
                without a pooler, position 0 of sequence_output itself.
        """
        mask = inputs[bert_task.INPUT_MASK]
        layout = self._layout(mask)
        # [batch, 1, 1, length]: one row of scores for all heads and queries.
        mask_scores = (1.0 - tf.cast(mask, tf.float32))[:, None, None, :] * MASKED_SCORE
        # The scopes group the graph's nodes like its variables, for readers of the graph.
        with tf.name_scope("embeddings"):
            hidden = self._embed(inputs, layout, training=training)
        for layer in range(self.shape.num_hidden_layers):
            with tf.name_scope(f"layer_{layer}"):
                hidden = self._layer(hidden, f"layer_{layer}", layout, mask_scores, training=training)
        sequence = tf.reshape(
            layout.spread(hidden, training=training), [layout.batch, layout.length, self.shape.hidden_size]
        )
        if layout.tokens is not None:
            sequence *= tf.cast(mask > 0, tf.float32)[:, :, None]
        sequence = tf.identity(sequence, name="sequence_output")
        pooled = sequence[:, 0]
        if "pooler/kernel" in self.weights:
            pooled = tf.tanh(self._dense(pooled, "pooler"), name="pooled_output")
        return {"sequence_output": sequence, "pooled_output": pooled, "default": pooled}

    def _layout(self, mask: tf.Tensor) -> _Layout:
        batch, length = tf.unstack(tf.shape(mask))
        if self.computation == PADDED:
            return _Layout(None, None, tf.range(batch * length) % length, batch, length)
        # Treat the first position always as a token, so a batch of only padding has one to gather.
        real = (tf.reshape(mask, [-1]) > 0) | tf.equal(tf.range(batch * length), 0)
        places = tf.cast(tf.where(real)[:, 0], tf.int32)
        tokens = tf.maximum(tf.cumsum(tf.cast(real, tf.int32)) - 1, 0)
        return _Layout(places, tokens, places % length, batch, length)

    def _embed(self, inputs: dict[str, tf.Tensor], layout: _Layout, *, training: bool) -> tf.Tensor:
        word_ids = layout.collect(tf.reshape(inputs[bert_task.INPUT_WORD_IDS], [-1]))
        type_ids = layout.collect(tf.reshape(inputs[bert_task.INPUT_TYPE_IDS], [-1]))
        total = (
            tf.gather(self.weights["embeddings/word_embeddings"], word_ids)
            + tf.gather(self.weights["embeddings/position_embeddings"], layout.positions)
            + tf.gather(self.weights["embeddings/token_type_embeddings"], type_ids)
        )
        hidden = self._layer_norm(total, "embeddings/LayerNorm")
        return self._dropout(hidden, self.shape.hidden_dropout_prob, training=training)

    def _layer(
        self, hidden: tf.Tensor, name: str, layout: _Layout, mask_scores: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        rate = self.shape.hidden_dropout_prob
        with tf.name_scope("attention"):
            context = self._attention(hidden, f"{name}/attention", layout, mask_scores, training=training)
        attended = self._dropout(self._dense(context, f"{name}/attention/output"), rate, training=training)
        hidden = self._layer_norm(hidden + attended, f"{name}/attention/LayerNorm")
        inner = self._inner(hidden, f"{name}/intermediate")
        output = self._dropout(self._dense(inner, f"{name}/output"), rate, training=training)
        return self._layer_norm(hidden + output, f"{name}/LayerNorm")

    def _attention(
        self, hidden: tf.Tensor, name: str, layout: _Layout, mask_scores: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        heads = self.shape.num_attention_heads
        size = self.shape.hidden_size // heads
        qkv = layout.spread(self._dense(hidden, f"{name}/qkv"), training=training)
        qkv = tf.reshape(qkv, [layout.batch, layout.length, 3, heads, size])
        # Each [batch, heads, length, size].
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        # Scale the query, not the scores: it is the smaller tensor from length 32 on.
        scores = tf.matmul(query * (1.0 / math.sqrt(size)), key, transpose_b=True) + mask_scores
        probabilities = self._dropout(
            tf.nn.softmax(scores), self.shape.attention_probs_dropout_prob, training=training
        )
        context = tf.transpose(tf.matmul(probabilities, value), [0, 2, 1, 3])
        return layout.collect(tf.reshape(context, [layout.batch * layout.length, heads * size]))

    def _inner(self, hidden: tf.Tensor, name: str) -> tf.Tensor:
        # Grappler fuses product, bias and exact GELU into one oneDNN op, but not where the bias is read
        # straight from a variable (TensorFlow 2.16.2); this squeeze is free and hides the variable.
        bias = tf.squeeze(tf.expand_dims(self.weights[f"{name}/bias"], 0), 0)
        product = tf.matmul(hidden, self.weights[f"{name}/kernel"])
        return ACTIVATIONS[self.shape.hidden_act](tf.nn.bias_add(product, bias))

    def _dense(self, x: tf.Tensor, name: str) -> tf.Tensor:
        return tf.nn.bias_add(tf.matmul(x, self.weights[f"{name}/kernel"]), self.weights[f"{name}/bias"])

    def _layer_norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        # Keras' form, a batch normalization with each token a channel, is no faster here where it counts
        # (batch 1, gradients) and exists in fewer runtimes.
        centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
        scale = tf.math.rsqrt(variance + self.shape.layer_norm_eps) * self.weights[f"{name}/gamma"]
        return centered * scale + self.weights[f"{name}/beta"]

    def _dropout(self, x: tf.Tensor, rate: float, *, training: bool) -> tf.Tensor:
        if not training or rate == 0.0:
            return x
        # A graph's random ops take their seeds when it is traced, here; without one, no training with
        # this encoder could ever be repeated. Each op has a seed of its own.
        self._num_dropouts += 1
        return tf.nn.dropout(x, rate, seed=self._num_dropouts)
