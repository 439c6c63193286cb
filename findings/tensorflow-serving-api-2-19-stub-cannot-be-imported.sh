#!/usr/bin/env bash
# tensorflow-serving-api 2.19.1 allows protobuf 6, and its prediction_service_pb2 cannot be imported with it.
#
# The wheel asks for protobuf>=3.20.3,<7 and `pip check` is clean, but one of its generated files is of protoc 3.6 to
# 3.19 and assigns to its descriptor (DESCRIPTOR.has_options = True), which the C implementation of protobuf 4 and later
# refuses. The messages (predict_pb2) and the gRPC stub (prediction_service_pb2_grpc) import, so that clients work; what
# needs the service's description fails (gRPC reflection, a descriptor set for grpcurl, transcoding proxies). TFX 1.21
# holds the package below 2.20 and brings protobuf 6. Python's own implementation of protobuf accepts the assignment.
#
# Versions: tensorflow-serving-api 2.19.1, tensorflow 2.20.0, protobuf 6.33.0, Python 3.11.
# Seen: predict_pb2 and prediction_service_pb2_grpc import; prediction_service_pb2: AttributeError, "attribute
# 'has_options' of ... FileDescriptor objects is not writable"; with PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python it
# imports.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorflow-serving-api==2.19.1 tensorflow==2.20.0 protobuf==6.33.0
"$work/venv/bin/pip" check
import_() {
  "$work/venv/bin/python" -W ignore -c "from tensorflow_serving.apis import $1; print('$1 is imported')" 2> "$work/log" ||
    { tail -n 1 "$work/log"; return 1; }
}
import_ predict_pb2
import_ prediction_service_pb2_grpc
if import_ prediction_service_pb2; then echo "the behaviour changed"; exit 1; fi
grep -q "attribute 'has_options' of .*FileDescriptor' objects is not writable" "$work/log"
PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python import_ prediction_service_pb2
