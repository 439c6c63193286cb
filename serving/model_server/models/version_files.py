"""Is a version folder wholly there? What is being copied must not be loaded.

Two things are checked: that writing has ended, and that no file is missing without which TensorFlow would load
the rest all the same.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import time

from google.protobuf import message as protobuf_message
from tensorflow.core.protobuf import saved_model_pb2

# A copy that pauses for less than this is taken for one that goes on.
QUIET_SECONDS = 2.0

GRAPHS = frozenset({"saved_model.pb", "saved_model.pbtxt"})
_BINARY_GRAPH = "saved_model.pb"
_INDEX = "variables/variables.index"
_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a folder looked like at one moment."""

    taken: float
    """Seconds of `time.time`."""

    files: tuple[tuple[str, int, int], ...]
    """Relative path, bytes and time of the last change (nanoseconds of ctime) of all that lies in it."""

    own_times: tuple[int, int]
    """The folder's own mtime and ctime, in nanoseconds."""

    def is_like(self, other: Snapshot) -> bool:
        """Whether nothing has changed between two looks."""
        return (self.files, self.own_times) == (other.files, other.own_times)


def snapshot(path: str) -> Snapshot:
    """Looks at a folder.

    Raises:
        OSError: it went away meanwhile.
    """
    files = []
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            status = _status(os.path.join(folder, name))
            relative = os.path.relpath(os.path.join(folder, name), path)
            files.append((relative, status.st_size if name in names else 0, status.st_ctime_ns))
    own = os.stat(path)
    return Snapshot(time.time(), tuple(sorted(files)), (own.st_mtime_ns, own.st_ctime_ns))


def _status(path: str) -> os.stat_result:
    """Of the file that a link points at; of the link itself where that is missing, which is not a file on its way."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            raise
        return status


def is_settled(now: Snapshot, before: Snapshot | None = None) -> bool:
    """Whether writing has ended.

    It has where the folder got its name, or its times, after the last change within: a push by rename and `cp -a`
    end so. It has where the last change is QUIET_SECONDS old. Clocks of a network file system may differ from ours:
    there, two equal looks with that time between them count.

    Args:
        now: the folder.
        before: an earlier look at it.
    """
    mtime, ctime = now.own_times
    newest = max((changed for _, _, changed in now.files), default=ctime)
    if ctime > mtime and ctime > newest:
        return True
    if now.taken - max(newest, ctime) / 1e9 >= QUIET_SECONDS:
        return True
    return before is not None and now.is_like(before) and now.taken - before.taken >= QUIET_SECONDS


def missing_part(path: str) -> str:
    """What keeps a folder from being a whole SavedModel, in one line; "" where nothing does.

    Only what TensorFlow would load without an error: it finds a missing, short or damaged file of variables itself.
    """
    if not any(os.path.isfile(os.path.join(path, name)) for name in GRAPHS):
        return f"{_BINARY_GRAPH} is missing in {path}"
    if not os.path.isfile(os.path.join(path, _INDEX)) and _has_variables(path):
        return f"{_INDEX} is missing in {path}"
    return ""


def _has_variables(path: str) -> bool:
    """Whether the graph needs variables; TensorFlow itself loads a graph without them and says nothing."""
    graph = os.path.join(path, _BINARY_GRAPH)
    if not os.path.isfile(graph):
        return False
    with open(graph, "rb") as file:
        try:
            saved_model = saved_model_pb2.SavedModel.FromString(file.read())
        except protobuf_message.DecodeError:
            return False  # cut off, or not a SavedModel: loading it says which
    return any(
        meta_graph.HasField("object_graph_def")
        or any(node.op in _VARIABLE_OPS for node in meta_graph.graph_def.node)
        for meta_graph in saved_model.meta_graphs
    )
