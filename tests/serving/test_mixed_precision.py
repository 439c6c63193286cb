"""--mixed_precision=bfloat16: the same signatures, computed with fewer digits, from memory that is not held twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.model_server.models.servable import LoadError, Servable
from tests.serving import toys
from tests.serving.contract.toy import SIGNATURES

WIDTH, ROWS = 64, 8
needs_bfloat16 = pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists() or "avx512f" not in Path("/proc/cpuinfo").read_text(),
    reason="TensorFlow computes in bfloat16 on processors with AVX-512 only",
)
IDS = tf.TensorSpec([None], tf.int64, name="ids")


class Dense(tf.Module):
    """A table of rows, which is looked up in, two weights, which are multiplied with, and a table of words."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        self.rows = tf.Variable(random.normal(size=[ROWS, WIDTH]), dtype=tf.float32, name="rows")
        self.kernels = [
            tf.Variable(random.normal(size=[WIDTH, WIDTH]) / WIDTH, dtype=tf.float32, name=f"kernel_{i}")
            for i in range(2)
        ]
        self.bias = tf.Variable(tf.ones([WIDTH]), name="bias")
        words = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
        self.words = tf.lookup.StaticHashTable(words, 0)

    @tf.function(input_signature=[IDS])
    def by_id(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.gather(self.rows, ids)
        for kernel in self.kernels:
            x = tf.nn.bias_add(tf.matmul(x, kernel), self.bias)
        return {"x": x, "ids": ids}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def by_word(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"x": self.by_id(self.words.lookup(words))["x"]}


@pytest.fixture(scope="module")
def dense_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dense")
    model = Dense()
    tf.saved_model.save(model, str(path), signatures={"by_id": model.by_id, "by_word": model.by_word})
    return path


def load(path: Path, precision: str = "bfloat16") -> Servable:
    return Servable(str(path), name="m", version=1, precision=precision)


def answers(servable: Servable, signature: str, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    call = servable.call(signature)
    return dict(zip(call.outputs, call.function(*arrays), strict=True))


@needs_bfloat16
def test_answers_have_fewer_digits_and_are_the_same_for_the_rest(dense_path: Path) -> None:
    ids = np.arange(ROWS)
    plain, lowered = load(dense_path, ""), load(dense_path)
    exact, near = answers(plain, "by_id", ids)["x"], answers(lowered, "by_id", ids)["x"]
    words = answers(lowered, "by_word", np.array([b"a", b"b", b"z"], dtype=object))["x"]
    plain.close()
    lowered.close()
    assert near.dtype == np.float32
    np.testing.assert_allclose(near, exact, atol=0.03 * np.abs(exact).max())
    assert not np.array_equal(near, exact)
    np.testing.assert_allclose(words, near[[1, 2, 0]], atol=1e-6)  # the loaded table, not an empty copy of it


@needs_bfloat16
def test_products_are_of_constants_that_are_cast_already(dense_path: Path) -> None:
    lowered = load(dense_path)
    graph = lowered._session.graph.as_graph_def()
    sizes = {
        node.attr["dtype"].type: node.attr["value"].tensor.ByteSize()
        for node in graph.node
        if node.op == "Const" and node.attr["value"].tensor.ByteSize() > WIDTH * WIDTH
    }
    lowered.close()
    assert list(sizes) == [tf.bfloat16.as_datatype_enum]
    assert "_FusedMatMul" in {node.op for node in graph.node}  # with what is added to it


def test_variables_that_became_constants_are_freed_and_those_that_are_looked_up_in_are_not(
    dense_path: Path,
) -> None:
    lowered = load(dense_path)
    there = {}
    with lowered._session.graph.as_default():
        for name in ("rows", "kernel_0", "kernel_1"):
            handle = lowered._session.graph.get_tensor_by_name(f"{name}:0")
            there[name] = lowered._session.run(tf.raw_ops.VarIsInitializedOp(resource=handle))
    lowered.close()
    assert there == {"rows": True, "kernel_0": False, "kernel_1": False}


def test_every_signature_of_the_toy_answers_as_before(toy_path: Path) -> None:
    """Their numbers are none that bfloat16 is used for: to the digit."""
    plain, lowered = (Servable(str(toy_path), name="toy", version=1, precision=p) for p in ("", "bfloat16"))
    text = np.array([b"12", b"1234567"], dtype=object)
    x = np.float32([1.5, -2.25])
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(0.25)
    example.features.feature["n"].int64_list.value.append(3)
    examples = np.array([example.SerializeToString()], dtype=object)
    inputs: dict[str, tuple[np.ndarray, ...]] = {
        "serving_default": (text,),
        "arithmetic": (np.int32([3, 4]), x[:, np.newaxis]),
        "to_number": (text,),
        "total": (x,),
        "positive": (x,),
        "classify": (examples,),
        "regress": (examples,),
        "strings": (text,),
        "half": (x.astype(np.float16),),
    }
    assert set(inputs) <= set(SIGNATURES)
    for name, arrays in inputs.items():
        expected, found = answers(plain, name, *arrays), answers(lowered, name, *arrays)
        for alias, array in expected.items():
            np.testing.assert_array_equal(found[alias], array, err_msg=f"{name} {alias}")
    plain.close()
    lowered.close()


def test_a_model_that_gains_nothing_is_served_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(toys.add(tmp_path, 1)).close()
    assert "mixed_precision=bfloat16 changed nothing" in caplog.text


def test_what_a_signature_does_besides_answering_is_done(tmp_path: Path) -> None:
    class Counter(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = tf.Variable(0.0)
            self.factor = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            self.count.assign_add(1.0)  # no output depends on it
            return {"y": x * self.factor}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def told(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"count": x * 0 + self.count.read_value()}

    model = Counter()
    signatures = {"serve": model.serve, "told": model.told}
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=signatures)
    lowered = load(tmp_path / "model")
    assert [answers(lowered, "serve", np.float32([3]))["y"].tolist() for _ in range(2)] == [[6], [6]]
    assert answers(lowered, "told", np.float32([0]))["count"].tolist() == [2]
    lowered.close()


def test_a_variable_of_two_handles_is_kept_when_one_of_them_is_looked_up_in(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
        weight = tf.compat.v1.get_variable("w", initializer=tf.eye(2) * 3, use_resource=True)
        other = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[2, 2], shared_name="w")
        row = tf.raw_ops.ResourceGather(resource=other, indices=[1], dtype=tf.float32)
        y = tf.matmul(x, weight) + row
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": y})
    lowered = load(tmp_path / "model")
    assert answers(lowered, "serving_default", np.float32([[1, 2]]))["y"].tolist() == [[3, 9]]
    lowered.close()


def save_v1(path: Path, *, private_table: bool) -> Path:
    """A model of TensorFlow 1: an input with a default, a variable, and a table that may have no name to share."""
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder_with_default(tf.zeros([1, 2]), [None, 2], name="x")
        weight = tf.compat.v1.get_variable("w", initializer=tf.eye(2) * 3, use_resource=False)
        y = tf.matmul(x, weight)
        if private_table:
            table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.int64, name="private")
            y += tf.cast(tf.raw_ops.LookupTableSizeV2(table_handle=table), tf.float32)
        session.run(tf.compat.v1.global_variables_initializer())
        assert y.graph is graph
        tf.compat.v1.saved_model.simple_save(session, str(path), {"x": x}, {"y": y})
    return path


def test_a_model_of_tensorflow_1_and_an_input_with_a_default(tmp_path: Path) -> None:
    lowered = load(save_v1(tmp_path / "v1", private_table=False))
    assert answers(lowered, "serving_default", np.float32([[1, 2], [3, 4]]))["y"].tolist() == [
        [3, 6],
        [9, 12],
    ]
    lowered.close()


def test_a_table_that_the_copy_could_not_find_fails_the_load_with_its_name(tmp_path: Path) -> None:
    path = save_v1(tmp_path / "v1", private_table=True)
    load(path, "").close()
    with pytest.raises(LoadError, match=r"'private' has no shared_name.*serve it without this flag"):
        load(path)


def test_where_there_is_a_gpu_it_is_refused(dense_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    with pytest.raises(LoadError, match="is for CPUs, and TensorFlow sees 1 GPUs: serve without this flag"):
        load(dense_path)
