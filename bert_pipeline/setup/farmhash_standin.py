"""Replaces the package pyfarmhash, which has only C++ source: the set-up copies this file to farmhash.py.

tensorflow-data-validation imports farmhash for its feature skew detector and for statistics by feature
partition; this project uses neither.
"""

from __future__ import annotations


def fingerprint64(text: str | bytes) -> int:
    """FarmHash's 64-bit fingerprint, unsigned, as TensorFlow computes it.

    >>> fingerprint64("")
    11160318154034397263
    """
    import tensorflow as tf  # imported here: importers of farmhash may not need TensorFlow

    return int.from_bytes(tf.fingerprint([text])[0].numpy().tobytes(), "little")


def fingerprint32(text: str | bytes) -> int:
    """Not in TensorFlow.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError(
        "farmhash.fingerprint32: no C++ package is installed; get a C++ compiler, then"
        " `.venv/bin/python -m pip install pyfarmhash`"
    )
