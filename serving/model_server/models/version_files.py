"""Is a version folder wholly there? What is being copied must not be loaded.

Three things are looked at: that the files which a SavedModel names are there, that they are as long as its index
of variables says, and that nobody is still writing.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import struct
import time
from collections.abc import Iterator

from google.protobuf import message as protobuf_message
from tensorflow.core.protobuf import saved_model_pb2, tensor_bundle_pb2

# A copy that pauses for less than this is taken for one that goes on.
QUIET_SECONDS = 2.0

GRAPHS = frozenset({"saved_model.pb", "saved_model.pbtxt"})
_BINARY_GRAPH = "saved_model.pb"
_VARIABLES = "variables/variables"
_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})
# LevelDB's table format, in which TensorFlow writes the index:
# https://github.com/google/leveldb/blob/main/doc/table_format.md
_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57


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
    """Of the file that a link points at; of the link itself where that is not there, which is no file on its way."""
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

    Damage within files is TensorFlow's to find: it checks the sums of all variables when it reads them.
    """
    if not any(os.path.isfile(os.path.join(path, name)) for name in GRAPHS):
        return f"{_BINARY_GRAPH} is missing in {path}"
    index = os.path.join(path, f"{_VARIABLES}.index")
    if not os.path.isfile(index):
        return f"{_VARIABLES}.index is missing in {path}" if _has_variables(path) else ""
    try:
        needed = shard_sizes(index)
    except (OSError, ValueError, IndexError, struct.error, protobuf_message.DecodeError) as error:
        return f"{_VARIABLES}.index is cut off or damaged: {error}"
    for shard, size in enumerate(needed):
        name = f"{_VARIABLES}.data-{shard:05d}-of-{len(needed):05d}"
        data = os.path.join(path, name)
        if not os.path.isfile(data):
            return f"{name} is missing in {path}"
        if os.path.getsize(data) < size:
            return f"{name} has {os.path.getsize(data)} of at least {size} bytes"
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
            return False  # cut off, or no SavedModel: loading it tells which
    return any(
        meta_graph.HasField("object_graph_def")
        or any(node.op in _VARIABLE_OPS for node in meta_graph.graph_def.node)
        for meta_graph in saved_model.meta_graphs
    )


def shard_sizes(index_path: str) -> list[int]:
    """Bytes that each file of variables must have at least, by its number.

    Args:
        index_path: `variables.index`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no index, or not whole.
    """
    with open(index_path, "rb") as file:
        table = file.read()
    if len(table) < _FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise ValueError(f"{len(table)} bytes do not end as an index does")
    footer = table[-_FOOTER_BYTES:]
    _, position = _varint(footer, 0)
    _, position = _varint(footer, position)
    sizes: list[int] = []
    for _, handle in _entries(table, footer[position:]):
        for key, value in _entries(table, handle):
            if not key:
                sizes = [0] * tensor_bundle_pb2.BundleHeaderProto.FromString(value).num_shards
                continue
            entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
            sizes[entry.shard_id] = max(sizes[entry.shard_id], entry.offset + entry.size)
    return sizes


def _entries(table: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block, which `handle` (offset and size) points at."""
    offset, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    block = table[offset : offset + size]
    if table[offset + size] != 0:
        raise ValueError("it is compressed, which TensorFlow never does")
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end, position, key = size - 4 - 4 * num_restarts, 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
