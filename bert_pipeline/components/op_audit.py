"""Checks that TensorFlow Serving has every op of an exported graph.

A model that was exported with a newer TensorFlow Text loads on the machine that trained it and fails in
service; this finds the op by name beforehand. The lists are in tf_serving_ops/<version>/, written
by tf_serving_ops/list_ops.py.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import message as protobuf_message
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from bert_pipeline.settings.errors import UserError

_LISTS = Path(__file__).parent / "tf_serving_ops"
_SERVE = "serve"


class UnreadableModel(Exception):
    """A saved_model.pb is missing or not a SavedModel; the message says which."""


def missing_ops(saved_model_dir: str | Path, *, tf_serving_version: str) -> list[str]:
    """Names the ops that a model uses and a TF Serving release lacks.

    Args:
        saved_model_dir: folder with saved_model.pb.
        tf_serving_version: such as 2.16.1; of `known_versions()`.

    Returns:
        Sorted op names; empty if the release has them all.

    Raises:
        UserError: the version has no list.
        UnreadableModel: there is no SavedModel.
    """
    allowed = _read_lists(tf_serving_version)
    return sorted(used_ops(saved_model_dir) - allowed)


def used_ops(saved_model_dir: str | Path) -> set[str]:
    """The ops of the graph tagged `serve` and of its function library, without function names.

    Includes functions that no signature calls: importing a graph requires every op of its library.

    Raises:
        UnreadableModel: there is no SavedModel, or none tagged `serve`.
    """
    meta_graph = read_serving_graph(saved_model_dir)
    graph = meta_graph.graph_def
    functions = {function.signature.name for function in graph.library.function}
    ops = {node.op for node in graph.node}
    for function in graph.library.function:
        ops.update(node.op for node in function.node_def)
    return ops - functions


def known_versions() -> list[str]:
    """The TF Serving releases with a list, oldest first."""
    return sorted((path.name for path in _LISTS.iterdir() if (path / "core.txt").exists()), key=_numbers)


def release_to_audit(version: str, *, tensorflow: str | None = None) -> str:
    """The release that `serving.tf_serving_version` names.

    Args:
        version: the setting; empty for the newest known release that is not newer than TensorFlow.
        tensorflow: TensorFlow's version; None for the installed one.

    Raises:
        UserError: the release has no list, or TensorFlow is older than all releases with a list.
    """
    if version:
        check_version(version)
        return version
    installed = importlib.metadata.version("tensorflow") if tensorflow is None else tensorflow
    releases = [known for known in known_versions() if _numbers(known)[:2] <= _numbers(installed)[:2]]
    if not releases:
        raise UserError(
            f"serving.tf_serving_version: no op list is as old as TensorFlow {installed}; "
            f"set one of {', '.join(known_versions())}"
        )
    return releases[-1]


def check_version(version: str) -> None:
    """Raises on a release without a list.

    Raises:
        UserError: names the known releases and how to add one.
    """
    if version not in known_versions():
        raise UserError(
            f"serving.tf_serving_version: there is no op list for {version!r}; known: {', '.join(known_versions())}. "
            f"To add one, make {_LISTS.name}/{version}/ as {_LISTS.name}/list_ops.py says"
        )


def _read_lists(version: str) -> set[str]:
    check_version(version)
    return {op for path in sorted((_LISTS / version).glob("*.txt")) for op in _lines(path)}


def _numbers(version: str) -> tuple[int, ...]:
    """2.16.1 -> (2, 16, 1); a part such as 0rc1 or 0+cpu is cut behind its digits."""
    return tuple(int(part) for part in re.findall(r"(?:^|\.)(\d+)", version))


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


def read_serving_graph(saved_model_dir: str | Path) -> meta_graph_pb2.MetaGraphDef:
    """Reads the graph tagged `serve`, with its signatures, without loading it.

    Raises:
        UnreadableModel: there is no SavedModel, or none tagged `serve`.
    """
    path = Path(saved_model_dir) / "saved_model.pb"
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except OSError as error:
        raise UnreadableModel(f"{path.name} cannot be read: {error.strerror}") from error
    except protobuf_message.DecodeError as error:
        raise UnreadableModel(f"{path.name} is damaged: {error}") from error
    for meta_graph in saved_model.meta_graphs:
        if _SERVE in meta_graph.meta_info_def.tags:
            return meta_graph
    raise UnreadableModel(f"{path.name} holds no graph tagged {_SERVE!r}")
