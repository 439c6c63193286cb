#!/usr/bin/env bash
# Keras 3: whether exclude_from_weight_decay(var_names=["LayerNorm"]) excludes anything depends on the backend.
#
# BERT's recipe decays neither biases nor layer normalisation: exclude_from_weight_decay(var_names=["LayerNorm",
# "layer_norm", "bias"]). Keras 3 searches the pattern in `variable.name`. Its TensorFlow backend hands tf.Variables to
# that search, whose name is the whole path, "LayerNorm/gamma"; the other backends hand Keras' own variables, whose name
# is "gamma" alone. The same model with the same line leaves LayerNorm alone under TensorFlow and pulls every LayerNorm's
# scale and shift towards zero under JAX. A pattern that matches nothing is no error, so nothing says so. (Asking
# optimizer._use_weight_decay(variable) of a Keras variable first makes TensorFlow decay it too: the answer is cached.)
#
# Versions: keras 3.15.1, tensorflow 2.20.0, jax 0.7.2, Python 3.11.
# Seen, one step of rate 0.001, weight_decay 0.5, gradients of zero: the change of each variable
#   tensorflow  dense/kernel moved, dense/bias 0, LayerNorm/gamma 0,      LayerNorm/beta 0
#   jax         dense/kernel moved, dense/bias 0, LayerNorm/gamma 0.0005, LayerNorm/beta 0.0005
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= JAX_PLATFORMS=cpu
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow==2.20.0 keras==3.15.1 jax==0.7.2
cat > "$work/decay.py" <<'PY'
import sys

import keras
import numpy as np


def values(model):
    return [keras.ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]


inputs = keras.Input((4,))
hidden = keras.layers.Dense(4, name="dense")(inputs)
model = keras.Model(inputs, keras.layers.LayerNormalization(name="LayerNorm", beta_initializer="ones")(hidden))
optimizer = keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=0.5)
optimizer.exclude_from_weight_decay(var_names=["LayerNorm", "layer_norm", "bias"])
optimizer.build(model.trainable_variables)
before = values(model)
optimizer.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables])
changes = [round(float(np.abs(new - old).max()), 6) for new, old in zip(values(model), before)]
by_path = dict(zip([variable.path for variable in model.trainable_variables], changes))
print(keras.backend.backend(), by_path)
decayed = {path for path, change in by_path.items() if change > 0}
expected = {"tensorflow": {"dense/kernel"}, "jax": {"dense/kernel", "LayerNorm/gamma", "LayerNorm/beta"}}
sys.exit(0 if decayed == expected[keras.backend.backend()] else "the behaviour changed")
PY
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend "$work/venv/bin/python" "$work/decay.py" 2> "$work/log" || { cat "$work/log"; exit 1; }
done
