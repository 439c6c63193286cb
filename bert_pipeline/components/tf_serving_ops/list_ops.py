"""Prints the ops registered in this Python environment: writes the lists that `op_audit.py` reads.

A TF Serving release has the ops of one TensorFlow and of one TensorFlow Text (its WORKSPACE and
tensorflow_serving/workspace.bzl say which). To add release X, in a throwaway environment each:

    pip install tensorflow==<its TensorFlow>
    python list_ops.py core > <X>/core.txt
    pip install tensorflow-text==<its TensorFlow Text>      # brings the TensorFlow that it was built for
    python list_ops.py text > <X>/text.txt

The list may lack an op of the release (a model that would run is refused), never the other way round: if the
sources of a release are not available, take the older of the possible TensorFlow Texts, and say so in a
comment (`#`) below the first line of text.txt. Releases up to 2.19 embed TensorFlow Text 2.12.1; the main branch took
2.20.0 in 2026.

Needs only TensorFlow, not the rest of the project.
"""

from __future__ import annotations

import sys

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session


def registered_ops() -> set[str]:
    """Names of the ops registered in this process."""
    ops = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {op.name for op in ops.op}


def text_ops() -> set[str]:
    """Names of the ops that importing tensorflow_text adds."""
    before = registered_ops()
    import tensorflow_text  # noqa: F401

    return registered_ops() - before


def main() -> None:
    """Prints a list with its origin on the first line."""
    kind = sys.argv[1] if len(sys.argv) == 2 else ""
    if kind not in ("core", "text"):
        sys.exit("usage: list_ops.py core|text")
    ops = registered_ops() if kind == "core" else text_ops()
    package = f"tensorflow {tf.__version__}" if kind == "core" else f"tensorflow_text {_text_version()}"
    print(f"# ops of {package}, written by list_ops.py")
    print("\n".join(sorted(ops)))


def _text_version() -> str:
    import tensorflow_text

    return str(tensorflow_text.__version__)


if __name__ == "__main__":
    main()
