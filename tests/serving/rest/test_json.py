"""JSON without a server: parsing within limits, reading tensors fast and strictly, writing the shortest floats."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server.errors import ServingError
from serving.model_server.rest import examples, inputs, messages, outputs, parse

FLOAT, DOUBLE, INT32, UINT64, BOOL, STRING = (
    dtype.as_datatype_enum for dtype in (tf.float32, tf.float64, tf.int32, tf.uint64, tf.bool, tf.string)
)


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ServingError) as error:
        call(*arguments, **options)
    return error.value.message


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a": [Inf, -Inf, Infinity, -Infinity, 1]}', {"a": [math.inf, -math.inf, math.inf, -math.inf, 1]}),
        (b'{"Inf": "NaN -Inf \\" Inf", "b": -Inf}', {"Inf": 'NaN -Inf " Inf', "b": -math.inf}),
        (b'\xef\xbb\xbf {"a": "\\ud83d\\ude00"} ', {"a": "\U0001f600"}),
        (b'{"a": 12345678901234567890123}', {"a": 12345678901234567890123}),
    ],
)
def test_parsing(body: bytes, document: Any) -> None:
    assert parse.parse_object(body) == document


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": Infi}', "Invalid value. at offset: 10"),
        (b'{"a": [1, {"b": "]}"} 2]}', "Missing a comma or ']' after an array element. at offset: 22"),
        (b'{"a": [-1.]}', "Miss fraction part in number. at offset: 10"),
        (b'{"a": [1e]}', "Miss exponent in number. at offset: 9"),
        (b'{"a": ["1e999", -1e999]}', "Number too big to be stored in double. at offset: 16"),
        (b'{"a": -Inf, "b": }', "Invalid value. at offset: 17"),
        (b'\xef\xbb\xbf{"a": x}', "Invalid value. at offset: 9"),
        ('{"é": x}'.encode(), "Invalid value. at offset: 7"),
        (b'{"a": \xff}', "Invalid value. at offset: 6"),
        (b'\xef\xbb\xbf{"a": "\xff\xc3\xa9", x}', "Missing a name for object member. at offset: 16"),
        (b'{"a": [0.0, 0e400]}', "Number too big to be stored in double. at offset: 12"),
        (b'{"a": "\\\\\\ud800"}', "The surrogate pair in string is invalid. at offset: 9"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Number too big to be stored in double. at offset: 6"),
        (b"{}\x00", "The document root must not be followed by other values. at offset: 2"),
    ],
)
def test_parse_errors_tell_the_byte(body: bytes, message: str) -> None:
    assert refusal(parse.parse_object, body) == f"JSON Parse error: {message}"


@pytest.mark.parametrize(
    ("string", "raw"),
    [
        (b"\xff", b"\xff"),
        (b"caf\xc3\xa9 \xc3(", b"caf\xc3\xa9 \xc3("),
        (rb"\udc00", b"\xed\xb0\x80"),
        (b"\xed\xb0\x80", b"\xed\xb0\x80"),
        (rb"\ud83d\ude00\udcff \\udc00", b"\xf0\x9f\x98\x80\xed\xb3\xbf \\udc00"),
        (b"\xff" + rb"\udcff", b"\xff\xed\xb3\xbf"),
    ],
)
def test_bytes_that_are_not_utf8_are_kept(string: bytes, raw: bytes) -> None:
    (text,) = parse.parse_object(b'{"a": ["' + string + b'"]}')["a"]
    assert inputs.read([text, {"b64": "/w=="}], dtype=STRING).tolist() == [raw, b"\xff"]
    assert parse.to_bytes(text) == raw


def test_names_that_are_not_utf8_are_refused() -> None:
    document = parse.parse_object(b'{"signature_name": "\xff", "examples": [{"f\xff": 1}]}')
    assert "not found in signature def" in refusal(inputs.signature_name, document)
    assert refusal(examples.read_input, document) == "Feature: f\udcff is not UTF-8"
    assert outputs.write_error("Feature: f\udcff") == b'{"error":"Feature: f\xff"}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("123456789.123456789", 123456789.12345681),
        ("2.2250738585072011e-308", 2.2250738585072014e-308),
        ("-0.000", -0.0),
        ("1e3", 1000.0),
        ("1E-00000000000002", 0.01),
        ("0." + "0" * 400 + "1e401", 1.0),
        ("1e-99999999999", 0.0),
        ("18446744073709551615.5", 18446744073709551616.0),
        ("9e308", math.inf),
        ("0e400", math.inf),
    ],
)
def test_decimals_are_read_as_rapidjson_reads_them(text: str, value: float) -> None:
    read = parse.read_decimal(text)
    assert (read, math.copysign(1.0, read)) == (value, math.copysign(1.0, value))


def test_decimals_of_few_digits_are_read_exactly() -> None:
    rng = random.Random(7)
    for _ in range(5000):
        text = f"{rng.randrange(10**6)}.{rng.randrange(10**9):09}e{rng.randint(-13, 13)}"
        assert parse.read_decimal(text) == float(text)


def test_long_decimals_are_off_by_one_unit_at_most() -> None:
    rng = random.Random(7)
    values = [rng.uniform(-1, 1) * 10.0 ** rng.randint(-30, 30) for _ in range(5000)]
    errors = {round(abs(parse.read_decimal(repr(value)) - value) / math.ulp(value), 1) for value in values}
    assert errors <= {0.0, 0.5, 1.0, 2.0}, errors  # beside a power of two a unit changes its size


def test_large_bodies_parse_to_the_same() -> None:
    row = [0.1, -1e-7, 3, 2**40, None, True, 'text \\ " [', {"b64": "aGk="}, [], {}, -0.0]
    document = {"instances": [row] * 2000, "signature_name": "é"}
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1)):
        assert len(text) > parse.LARGE_BODY_BYTES
        assert parse.parse_object(text.encode()) == document
    values = parse.parse_object(b'{"a": [' + b"1, NaN, -Inf, " * 10_000 + b"2.5]}")["a"]
    assert (values[0], values[2], values[-1], len(values)) == (1, -math.inf, 2.5, 30_001)


def test_nesting_is_counted_across_chunks_and_not_in_strings() -> None:
    padding = b'"' + b"[" * (parse._CHUNK_BYTES - 20) + b'\\"[{", '
    body = b'{"a": [' + padding + b"[" * 98 + b"]" * 98 + b"]}"
    assert len(parse.parse_object(body)["a"]) == 2
    deeper = body.replace(b"[" * 98 + b"]" * 98, b"[" * 99 + b"]" * 99)
    assert "more than 100 deep" in refusal(parse.parse_object, deeper)


def test_the_number_of_lists_is_limited() -> None:
    body = b'{"a": [' + b"[]," * parse.MAX_CONTAINERS + b"1]}"
    assert "more than 2097152 lists and objects" in refusal(parse.parse_object, body)


def array_of(value: Any, dtype: int) -> Any:
    return inputs.read(value, dtype=dtype)


@pytest.mark.parametrize(
    ("value", "dtype", "numpy_dtype"),
    [
        ([[1.5, 2], [-3, 4]], FLOAT, np.float32),
        ([math.nan, math.inf, 1], DOUBLE, np.float64),
        ([2**64 - 1, 0], UINT64, np.uint64),
        ([[[1]], [[2]]], INT32, np.int32),
        ([True, False], BOOL, np.bool_),
        ([[], []], FLOAT, np.float32),
        ([], INT32, np.int32),
        (7, INT32, np.int32),
    ],
)
def test_arrays_of_numbers(value: Any, dtype: int, numpy_dtype: Any) -> None:
    array = array_of(value, dtype)
    assert array.dtype == numpy_dtype
    np.testing.assert_array_equal(array, np.array(value, dtype=numpy_dtype))


def test_arrays_of_strings_mix_text_and_base64() -> None:
    array = array_of([["a", {"b64": "gP8="}], ["é", "d"]], STRING)
    assert array.tolist() == [[b"a", b"\x80\xff"], ["é".encode(), b"d"]]
    assert array_of({"b64": " aG\nk "}, STRING).item() == b"hi"


def test_large_arrays_are_read_in_blocks() -> None:
    rows, columns = 700, 300
    value = [[float(row * columns + column) for column in range(columns)] for row in range(rows)]
    array = array_of(value, DOUBLE)
    np.testing.assert_array_equal(array.ravel(), np.arange(rows * columns))
    value[650][7] = "x"
    assert refusal(array_of, value, DOUBLE).startswith('JSON Value: "x" Type: String is not of expected')
    value[650] = value[650][:-1]
    assert refusal(array_of, value, DOUBLE) == (
        "Encountered list at unexpected size: 299 at level: 1 expected size: 300"
    )


def test_a_shape_that_only_the_first_elements_have_takes_no_memory() -> None:
    value: Any = [0.0]
    for _ in range(12):
        value = [value, *[0] * 999]
    assert "incorrect level" in refusal(array_of, value, FLOAT)


def test_the_first_of_two_equal_keys_counts() -> None:
    assert parse.parse_object(b'{"a": 1, "b": {"c": 2, "c": 3}, "a": 4}') == {"a": 1, "b": {"c": 2}}


@pytest.mark.parametrize("padded", ["aGk==", "aGk", "aGkx=", "aGkx====", "a===", "=aGk"])
def test_base64_with_wrong_padding(padded: str) -> None:
    if padded == "aGk":
        assert array_of({"b64": padded}, STRING).item() == b"hi"
    else:
        assert refusal(array_of, {"b64": padded}, STRING) == "Unable to base64 decode"


def test_floats_are_rounded_as_in_c() -> None:
    values = [16777217, 33554435, 1e39, -1e39, 3.4028235e38, 1e-45, 2**64 + 1]
    rounded = [16777216.0, 33554436.0, math.inf, -math.inf, 3.4028234663852886e38, 0.0, 2.0**64]
    assert array_of(values, FLOAT).tolist() == rounded
    assert array_of([9007199254740993, 5e-324], DOUBLE).tolist() == [9007199254740992.0, 0.0]


def test_an_infinity_must_be_spelled() -> None:
    read = parse.parse_object(b'{"b": [1, Infinity], "c": [-Inf]}')
    assert "too big" in refusal(parse.parse_object, b'{"a": [1e999, 1]}')
    assert array_of(read["b"], FLOAT).tolist() == [1.0, math.inf]
    assert array_of(read["c"], DOUBLE).tolist() == [-math.inf]
    assert "too big" in refusal(array_of, [10**400], DOUBLE)


def test_a_signature_without_inputs_is_told() -> None:
    message = refusal(inputs.read_inputs, {"instances": [1]}, inputs={})
    assert message == "Failed to get input map for signature: DEFAULT"


def test_many_rows_of_two_inputs() -> None:
    infos = {name: meta_graph_pb2.TensorInfo(dtype=dtype) for name, dtype in (("n", INT32), ("s", STRING))}
    rows = [{"s": str(i), "n": [i, -i]} for i in range(1000)]
    arrays, is_rows = inputs.read_inputs({"instances": rows}, inputs=infos)
    assert is_rows
    assert arrays["s"].tolist() == [str(i).encode() for i in range(1000)]
    assert arrays["n"].tolist() == [[i, -i] for i in range(1000)]


def test_values_in_messages_are_cut() -> None:
    assert messages.shown({"a": [1, "b"]}) == '{\n    "a": [\n        1,\n        "b"\n    ]\n}'
    assert messages.shown([2**64, 2**64 - 1]) == "[\n    1.84467441e+19,\n    18446744073709551615\n]"
    assert len(messages.shown({"a": [0] * 10**6, "b": 1})) < 2**20 + 100
    assert len(messages.shown("x" * 10**7)) == 2**20


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_j23_floats_of_every_kind_read_back_equal(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    any_bits = rng.integers(0, np.iinfo(unsigned).max, 10_000, dtype=unsigned, endpoint=True).view(dtype)
    with np.errstate(over="ignore"):
        edges = np.array(
            [0.0, -0.0, 1, 1e6, 1e16, 1e-5, 6e-8, 1e-45, 5e-324, 1e38, np.inf, -np.inf, np.nan], dtype
        )
    for values in (any_bits, any_bits[np.isfinite(any_bits)], edges):
        read = json.loads(outputs.write_outputs({"x": values}, rows=False))["outputs"]
        assert {type(value) for value in read} == {float}
        np.testing.assert_array_equal(np.array(read).astype(dtype), values)
        assert np.signbit(read)[~np.isnan(values)].tolist() == np.signbit(values)[~np.isnan(values)].tolist()


def test_outputs_of_every_type() -> None:
    arrays = {
        "flag": np.array([True, False]),
        "half": np.array([0.1, 2], dtype=np.float16),
        "brain": tf.constant([0.5, 3.0], tf.bfloat16).numpy(),
        "count": np.array([2**64 - 1, 0], dtype=np.uint64),
        "none": np.empty([2, 0, 3]),
        "text": np.array([b"\xff", b'"'], dtype=object),
    }
    body = outputs.write_outputs(arrays, rows=False)
    assert json.loads(body.decode("utf-8", "surrogateescape"))["outputs"] == {
        "flag": [True, False],
        "half": [0.099975586, 2.0],
        "brain": [0.5, 3.0],
        "count": [2**64 - 1, 0],
        "none": [[], []],
        "text": ["\udcff", '"'],
    }
    assert b'["\xff","\\""]' in body
    rows = outputs.write_outputs(arrays, rows=True).decode("utf-8", "surrogateescape")
    assert json.loads(rows)["predictions"][1]["count"] == 0
    assert outputs.write_outputs({"x": np.zeros([0, 2])}, rows=True) == b'{"predictions":[]}'
    assert outputs.write_outputs({"x": np.array(3, np.float32)}, rows=False) == b'{"outputs":3.0}'
    complex_output = {"z": np.array([1j], dtype=np.complex64)}
    message = refusal(outputs.write_outputs, complex_output, rows=False)
    assert message == "Failed to write JSON value for tensor type: complex64"


def test_large_outputs_are_written_in_blocks() -> None:
    array = np.arange(200_000, dtype=np.int32).reshape(1000, 10, 20)
    for rows, key in ((True, "predictions"), (False, "outputs")):
        assert json.loads(outputs.write_outputs({"x": array}, rows=rows)) == {key: array.tolist()}
    two = json.loads(outputs.write_outputs({"x": array, "y": array[:, 0, 0]}, rows=True))["predictions"]
    assert two[999] == {"x": array[999].tolist(), "y": 199_800}
    assert len(two) == 1000


def test_outputs_that_do_not_lie_in_order_are_written() -> None:
    assert (
        outputs.write_outputs({"x": np.arange(4).reshape(2, 2).T}, rows=True)
        == b'{"predictions":[[0,2],[1,3]]}'
    )
