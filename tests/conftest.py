"""What all tests share: the environment that TensorFlow needs, and a BERT of 2 layers."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before anything imports TensorFlow: Keras 2, no start-up chatter, and no GPU, so that tests mean the same
# everywhere.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from pathlib import Path

import pytest
from bert_task import EncoderConfig

from bert_pipeline.encoders import resolve
from bert_pipeline.settings import run_log


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options must be declared in the first conftest that pytest reads, whatever folder they are for."""
    parser.addoption(
        "--serving-address",
        default="",
        metavar="HOST:GRPC_PORT,HOST:REST_PORT",
        help="the server that tests/serving/contract asks; without it, a process of ours",
    )


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries and other users (PostgreSQL's) write into the folder for temporary files goes with the tests."""
    tmp_path_factory.getbasetemp()  # of pytest, which keeps what failed
    with run_log.temporary_folder() as folder:
        folder.chmod(0o711)
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """A Hugging Face checkpoint, read only: 2 layers, hidden 32, 64 wordpieces, 64 positions, uncased.

    How it was made, and torch's answers beside it: `data/tiny_bert/make_reference.py`.
    """
    return Path(__file__).parent / "data" / "tiny_bert"


@pytest.fixture(scope="session")
def tiny_encoder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> resolve.Encoder:
    """`tiny_checkpoint`, converted, computing real tokens only."""
    return resolve.resolve_encoder(
        EncoderConfig(handle=str(tiny_checkpoint)),
        cache_dir=tmp_path_factory.mktemp("encoder_cache"),
        base_dir=tiny_checkpoint,
    )
