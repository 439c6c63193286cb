"""Answers of a servable with batching are those without, whoever asks beside."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.model_server.config.settings import BatchingParameters
from serving.model_server.errors import ServingError
from serving.model_server.models.servable import Servable, SignatureCall
from tests.serving.soak.models import save_encoder
from tests.serving.toys import load


async def _all(servable: Servable, call: SignatureCall, requests: list[list[np.ndarray]]) -> list[Any]:
    runs = [servable.run(call, request) for request in requests]
    return list(await asyncio.gather(*runs, return_exceptions=True))


def ask(servable: Servable, signature: str, requests: list[list[np.ndarray]]) -> list[Any]:
    """All requests at once; dicts of lists, or errors."""
    answers = asyncio.run(_all(servable, servable.call(signature), requests))
    return [
        answer if isinstance(answer, Exception) else {k: v.tolist() for k, v in answer.items()}
        for answer in answers
    ]


BATCHINGS = [
    None,
    BatchingParameters(max_batch_size=8, num_batch_threads=1),
    BatchingParameters(max_batch_size=8, num_batch_threads=2, allowed_batch_sizes=(4, 8)),
]


@pytest.mark.parametrize("batching", BATCHINGS)
def test_every_kind_of_request_is_answered_alike_with_and_without_batching(
    toy_path: Path, batching: BatchingParameters | None
) -> None:
    """Rows, one row, many rows, rank 0, outputs without rows, outputs of fixed size, and lost rows."""
    servable = load(toy_path, batching=batching)

    def floats(*rows: list[float]) -> list[list[np.ndarray]]:
        return [[np.array(row, np.float32)] for row in rows]

    x = [[float(i)] * (i % 5 + 1) for i in range(20)] + [[1.5] * 20]
    assert ask(servable, "total", floats(*x)) == [
        {"total": sum(row), "twice": [2 * v for v in row]} for row in x
    ]
    fixed = floats([1.0, 2.0, 3.0], [4.0], [5.0, 6.0])
    assert ask(servable, "fixed", fixed) == [
        {"three": [1.0, 2.0, 3.0], "twice": [2.0, 4.0, 6.0]},
        {"three": [1.0, 2.0, 3.0], "twice": [8.0]},
        {"three": [1.0, 2.0, 3.0], "twice": [10.0, 12.0]},
    ]
    signs = [[1.0, -1.0], [-1.0], [2.0], [3.0, -1.0, 4.0] * 6]
    assert ask(servable, "positive", floats(*signs)) == [
        {"positive": [v for v in row if v > 0]} for row in signs
    ]
    assert ask(servable, "busy", [[np.array(0, np.int32)]] * 3) == [{"trace": 400.0}] * 3
    texts = [[np.array([b"hi"] * (i % 4 + 1), object)] for i in range(12)]
    answers = ask(servable, "serving_default", texts)
    assert [answer["label"] for answer in answers] == [[b"short"] * (i % 4 + 1) for i in range(12)]
    servable.close()


def test_a_bad_row_fails_only_the_request_that_sent_it(toy_path: Path) -> None:
    servable = load(toy_path, batching=BATCHINGS[1])
    texts = [b"1", b"2", b"no number", b"4", b"\xff", b"6"]
    answers = ask(servable, "to_number", [[np.array([text], object)] for text in texts])
    assert [a if isinstance(a, dict) else type(a) for a in answers] == [
        {"number": [2.0]},
        {"number": [3.0]},
        ServingError,
        {"number": [5.0]},
        ServingError,
        {"number": [7.0]},
    ]
    assert answers[2].message.startswith("StringToNumberOp could not correctly convert string: no number")
    servable.close()


def test_versions_models_signatures_and_output_filters_are_never_mixed(models_on_disk: Any) -> None:
    """Each servable has a queue of its own, and each set of outputs a call of its own."""
    batching = BatchingParameters(max_batch_size=16, num_batch_threads=2)
    folders = {("toy", 1): 1.0, ("toy", 2): 2.0, ("other", 7): 7.0}
    loaded = {
        key: Servable(
            str(models_on_disk.folder / key[0] / str(key[1])), name=key[0], version=key[1], batching=batching
        )
        for key in folders
    }
    wrong: list[Any] = []

    async def one(key: tuple[str, int], wanted: tuple[str, ...], value: int) -> None:
        call = loaded[key].call("arithmetic", wanted)
        arrays = [np.array([value], np.int32), np.array([[2.0 * value]], np.float32)]
        answer = await loaded[key].run(call, arrays)
        expected = {"n": [value + 1], "y": [[value + folders[key]]], "raw_bytes": [str(value).encode()]}
        if {k: v.tolist() for k, v in answer.items()} != {k: expected[k] for k in wanted or expected}:
            wrong.append((key, wanted, value, answer))

    async def main() -> None:
        filters: list[tuple[str, ...]] = [(), ("y",), ("n", "y")]
        for start in range(0, 900, 90):
            await asyncio.gather(
                *[one(list(folders)[v % 3], filters[v // 3 % 3], v) for v in range(start, start + 90)]
            )

    asyncio.run(main())
    assert wrong == []
    for servable in loaded.values():
        servable.close()


@pytest.mark.parametrize("batching", BATCHINGS[1:])
def test_batched_answers_are_those_of_rows_alone(encoder_path: Path, batching: BatchingParameters) -> None:
    """Within 1e-5, texts of mixed length, on a layer of attention that pads to the longest of a batch."""
    texts = [" ".join(f"word{(i * j) % 97}" for j in range(i % 23 + 1)).encode() for i in range(200)]
    requests = [[np.array([text], object)] for text in texts]
    alone, batched = load(encoder_path), load(encoder_path, batching=batching)
    one_by_one = [alone.call().function(*request) for request in requests]
    together = asyncio.run(_all(batched, batched.call(), requests))
    for (label, probabilities), answer in zip(one_by_one, together, strict=True):
        assert answer["label"].tolist() == label.tolist()
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5, rtol=0)
    alone.close()
    batched.close()


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder") / "1")
