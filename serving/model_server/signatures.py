"""Signatures: finding them, and checking what a request sends and wants, in TF Serving's words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import errors, tensors
from serving.model_server.errors import ServingError

DEFAULT_SIGNATURE = "serving_default"
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


def find(signatures: Mapping[str, meta_graph_pb2.SignatureDef], name: str) -> meta_graph_pb2.SignatureDef:
    """The signature called `name`, as Predict asks for it; "" is the default one.

    Those of Classify and Regress may be called by Predict as well.

    Raises:
        ServingError: FAILED_PRECONDITION, there is none; INTERNAL, it cannot be called.
    """
    key = name or DEFAULT_SIGNATURE
    if key not in signatures:
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    method = signatures[key].method_name
    if method not in (PREDICT, CLASSIFY, REGRESS):
        wanted = f"{PREDICT}, {CLASSIFY}, {REGRESS}"
        raise ServingError(
            grpc.StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{wanted}}}. Was: {method}",
        )
    return signatures[key]


def is_batchable(signature: meta_graph_pb2.SignatureDef, *, outputs: Iterable[str]) -> bool:
    """Whether the declared shapes say that rows go in and come out: [-1, ...] for every input and output.

    An output of fixed size would come out of a batch once for all requests, and by chance with as many values
    as the batch has rows; so what is not declared to have rows is not batched. TF Serving batches
    everything, and fails or misleads there.
    """
    infos = [*signature.inputs.values(), *(signature.outputs[alias] for alias in outputs)]
    shapes = [info.tensor_shape for info in infos]
    return bool(infos) and all(
        not shape.unknown_rank and shape.dim and shape.dim[0].size == -1 for shape in shapes
    )


def read_inputs(
    inputs: Mapping[str, tensor_pb2.TensorProto], *, signature: meta_graph_pb2.SignatureDef
) -> list[np.ndarray]:
    """Reads a request's tensors; those that the signature has defaults for may be missing.

    Args:
        inputs: tensor by alias.
        signature: whose inputs they are.

    Returns:
        Arrays in the order of the sorted aliases; strings as objects (bytes).

    Raises:
        ServingError: INVALID_ARGUMENT; missing, unexpected, malformed, or of another dtype.
    """
    _check_aliases(inputs, signature=signature)
    aliases = sorted(signature.inputs)
    protos = [inputs[a] if a in inputs else signature.defaults[a] for a in aliases]
    arrays = [tensors.to_array(proto, alias=alias) for proto, alias in zip(protos, aliases, strict=True)]
    dtypes = [proto.dtype for proto in protos]
    check_dtypes(dtypes, signature=signature)
    return arrays


def order_arrays(
    arrays: Mapping[str, np.ndarray], *, signature: meta_graph_pb2.SignatureDef
) -> list[np.ndarray]:
    """As `read_inputs`, from arrays.

    Raises:
        ServingError: INVALID_ARGUMENT; missing, unexpected, or of another dtype.
    """
    _check_aliases(arrays, signature=signature)
    aliases = sorted(signature.inputs)
    ordered = [arrays[a] if a in arrays else tf.make_ndarray(signature.defaults[a]) for a in aliases]
    check_dtypes([tf.dtypes.as_dtype(a.dtype).as_datatype_enum for a in ordered], signature=signature)
    return ordered


def check_dtypes(dtypes: Sequence[int], *, signature: meta_graph_pb2.SignatureDef) -> None:
    """Checks DataType numbers in the order of the sorted aliases.

    Raises:
        ServingError: INVALID_ARGUMENT; names the first that differs.
    """
    for position, (alias, given) in enumerate(zip(sorted(signature.inputs), dtypes, strict=True)):
        expected = signature.inputs[alias].dtype
        if given != expected:
            names = tensors.dtype_name(expected), tensors.dtype_name(given)
            raise errors.invalid_argument(
                f"Expects arg[{position}] to be {names[0]} but {names[1]} is provided"
            )


def check_ranks(arrays: Sequence[np.ndarray], *, signature: meta_graph_pb2.SignatureDef) -> None:
    """Checks arrays in the order of the sorted aliases: a kernel that gets another rank may end the process.

    Raises:
        ServingError: INVALID_ARGUMENT; names the first that has another rank than the signature says.
    """
    for alias, array in zip(sorted(signature.inputs), arrays, strict=True):
        shape = signature.inputs[alias].tensor_shape
        if not shape.unknown_rank and len(shape.dim) != array.ndim:
            sizes = ",".join(str(dim.size) for dim in shape.dim)
            raise errors.invalid_argument(
                f"input {alias} has shape [{','.join(map(str, array.shape))}], of rank {array.ndim}; "
                f"the signature's [{sizes}] has rank {len(shape.dim)}"
            )


def check_outputs(wanted: Sequence[str], *, signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    """The outputs that an `output_filter` asks for, sorted; an empty one asks for all.

    Raises:
        ServingError: INVALID_ARGUMENT; unknown or twice.
    """
    seen: set[str] = set()
    for alias in wanted:
        if alias not in signature.outputs:
            raise errors.invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_join(signature.outputs)}}}."
            )
        if alias in seen:
            raise errors.invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(sorted(wanted or signature.outputs))


def _check_aliases(inputs: Collection[str], *, signature: meta_graph_pb2.SignatureDef) -> None:
    sent, wanted = set(inputs), set(signature.inputs)
    if sent == wanted:
        return
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise errors.invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{_join(sent)}}}) != len({{{_join(wanted)}}}). "
            f"Sent extra: {{{_join(sent - wanted)}}}. Missing but required: {{{_join(wanted - sent)}}}."
        )
    for alias in sorted(wanted - sent - set(signature.defaults)):
        raise errors.invalid_argument(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {{{_join(sent)}}}, or default "
            f"input alias set: {_join(signature.defaults)}"
        )
    if sent - wanted:
        raise errors.invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_join(sent & wanted)}, "
            f"request input: {_join(sent)}"
        )


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
