"""Encoders in Hub format: from TF Hub, Kaggle, or a folder.

Loads nothing into TensorFlow's runtime: the required facts (vocabulary, casing, positions) are in
the object graph of saved_model.pb and in the checkpoint beside it
(https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bert_task
import tensorflow as tf
import tensorflow_hub as hub
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2, saved_object_graph_pb2

from bert_pipeline.encoders import encoder_cache, hf_files
from bert_pipeline.encoders.hf_tokenizer import RULES_FILE, TEXT_RULES
from bert_pipeline.settings.errors import UserError

SAVED_MODEL_FILE = "saved_model.pb"


def read_handle(handle: str, *, cache_dir: Path) -> dict[str, Any]:
    """Downloads a module from TF Hub or Kaggle, or finds it in the cache.

    Args:
        handle: https://...
        cache_dir: downloads go to its folder `hub`, unless $TFHUB_CACHE_DIR is set.

    Returns:
        The fields of `encoders.Encoder`.

    Raises:
        UserError: no network, no such module, or not a text encoder.
    """
    os.environ.setdefault("TFHUB_CACHE_DIR", str(cache_dir / "hub"))  # tensorflow_hub has no argument for it
    try:
        folder = Path(hub.resolve(handle))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"encoder.handle = {handle!r}: tensorflow_hub could not download it ({error}); check the network and"
            f" the address, or give encoder.handle the folder of a SavedModel"
        ) from error
    return read_folder(folder, source=handle)


def read_folder(folder: Path, *, source: str) -> dict[str, Any]:
    """Reads the properties of a Hub-format text encoder.

    Args:
        folder: the SavedModel.
        source: its name in the task file.

    Returns:
        The fields of `encoders.Encoder`.

    Raises:
        UserError: not a Hub-format text encoder, damaged, or a vocabulary that does not fit.
    """
    meta_graph = _read_meta_graph(folder, source=source)
    graph = meta_graph.object_graph_def
    children = {child.local_name: child.node_id for child in graph.nodes[0].children}
    missing = [name for name in ("__call__", "vocab_file", "do_lower_case") if name not in children]
    if missing or not _takes_encoder_inputs(graph):
        lacks = ", ".join(missing) or f"a function of {', '.join(bert_task.ENCODER_INPUTS)}"
        raise UserError(
            f"encoder.handle = {source!r}: {folder} is no text encoder as TF Hub has them; it lacks {lacks}"
        )
    asset = graph.nodes[children["vocab_file"]].asset.asset_file_def_index
    vocab_path = folder / "assets" / meta_graph.asset_file_def[asset].filename
    if not vocab_path.is_file():
        raise UserError(f"encoder.handle = {source!r}: {vocab_path} is missing; copy the whole folder again")
    pieces = [p.removesuffix("\r") for p in hf_files.read_text(vocab_path).removesuffix("\n").split("\n")]
    if lacking := [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in pieces]:
        raise UserError(
            f"encoder.handle = {source!r}: {vocab_path} has no {', '.join(lacking)}; it is no vocabulary of a BERT"
        )
    rules_path = vocab_path.with_name(RULES_FILE)
    rules = hf_files.read_json_if_there(rules_path)
    hf_files.require_values(rules_path, rules, dict.fromkeys(TEXT_RULES, (True, False)))
    hf_files.refuse_unknown_keys(rules_path, rules, TEXT_RULES)
    num_rows = _num_rows(graph, "word_embedding")
    if num_rows is not None and len(pieces) > num_rows:
        raise UserError(
            f"encoder.handle = {source!r}: {vocab_path} has {len(pieces)} wordpieces, which do not fit the"
            f" embedding table of {num_rows} rows"
        )
    return {
        "path": str(folder),
        "vocab_path": str(vocab_path),
        "lower_case": _read_lower_case(folder, source=source),
        "max_seq_length": _num_rows(graph, "position_embedding") or 512,  # all of Google's modules have 512
        "source": source,
        "sha256": _sha256(folder),
    }


def _read_meta_graph(folder: Path, *, source: str) -> Any:
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString(hf_files.read_bytes(folder / SAVED_MODEL_FILE))
    except DecodeError as error:
        raise UserError(
            f"encoder.handle = {source!r}: {folder / SAVED_MODEL_FILE} is damaged ({error})"
        ) from error
    if not proto.meta_graphs or not proto.meta_graphs[0].object_graph_def.nodes:
        raise UserError(
            f"encoder.handle = {source!r}: {folder} is a SavedModel of TensorFlow 1; take one of TensorFlow 2"
        )
    return proto.meta_graphs[0]


def _takes_encoder_inputs(graph: saved_object_graph_pb2.SavedObjectGraph) -> bool:
    """Whether some function takes the three inputs by name (a preprocessing module takes strings)."""
    for function in graph.concrete_functions.values():
        signature = str(function.canonicalized_input_signature)
        if all(f'"{name}"' in signature for name in bert_task.ENCODER_INPUTS):
            return True
    return False


def _num_rows(graph: saved_object_graph_pb2.SavedObjectGraph, name: str) -> int | None:
    """Rows of the table whose variable's name contains `name`; None if there is none."""
    for node in graph.nodes:
        if node.WhichOneof("kind") == "variable" and name in node.variable.name:
            return int(node.variable.shape.dim[0].size)
    return None


def _read_lower_case(folder: Path, *, source: str) -> bool:
    try:
        values = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        return bool(values.get_tensor("do_lower_case/.ATTRIBUTES/VARIABLE_VALUE"))
    except (tf.errors.OpError, ValueError, IndexError) as error:
        raise UserError(
            f"encoder.handle = {source!r}: {folder / 'variables'} cannot be read ({error})"
        ) from error


def _sha256(folder: Path) -> str:
    names = [
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "fingerprint.pb"
    ]
    return encoder_cache.files_sha256(folder, names)
