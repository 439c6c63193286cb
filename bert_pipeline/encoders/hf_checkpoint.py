"""Reads a Hugging Face BERT checkpoint folder, and refuses unknown settings by name.

Does not import TensorFlow: an unsupported checkpoint is refused before the slow imports.
File formats: https://huggingface.co/docs/transformers/model_doc/bert (config.json, names of the
tensors); `hf_files` and `hf_tokenizer` read the other files.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from bert_pipeline.encoders import hf_files, hf_tokenizer
from bert_pipeline.encoders.hf_files import WEIGHTS_FILE
from bert_pipeline.encoders.hf_vocabulary import PIPELINE_FILE, VOCAB_FILE
from bert_pipeline.settings.errors import UserError

CONFIG_FILE = "config.json"
# Files that are read from a checkpoint in one piece.
ALL_FILES = (CONFIG_FILE, WEIGHTS_FILE, *hf_tokenizer.TOKENIZER_FILES)

# Version of the conversion of these files; part of the cache key.
CONVERTER_VERSION = 4

MAX_LAYERS = 1000  # the largest BERT has 24

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")

_MUST_BE: dict[str, tuple[Any, ...]] = {
    "model_type": ("bert",),
    "hidden_act": ACTIVATIONS,
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "auto_map": (None,),
    "use_bfloat16": (False,),
    "directionality": ("bidi",),
    "tokenizer_class": hf_tokenizer.TOKENIZER_CLASSES,
    # Storage type of the weights, or their type in torch; always read as float32 here.
    "dtype": ("float32", "float16", "bfloat16", "float64", "auto", None),
    "torch_dtype": ("float32", "float16", "bfloat16", "float64", "auto", None),
}
# Heads, pretraining, generation, outputs and tool versions: they do not affect the encoder.
_HARMLESS = (
    *("architectures", "transformers_version", "_name_or_path", "_commit_hash", "name", "language"),
    *("initializer_range", "gradient_checkpointing", "use_cache", "torchscript", "tie_word_embeddings"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "tie_encoder_decoder"),
    *("classifier_dropout", "problem_type", "id2label", "label2id", "num_labels", "_num_labels"),
    *("finetuning_task", "task_specific_params", "sentence_transformers", "model_max_length", "max_length"),
    *("return_dict", "use_return_dict", "output_attentions", "output_hidden_states", "output_past"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id"),
    *("unk_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"),
    *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head"),
    *(
        "pooler_type",
        "chunk_size_feed_forward",
        "cross_attention_hidden_size",
        "tf_legacy_loss",
        "xla_device",
    ),
    *("bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping"),
    *("encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "length_penalty", "min_length"),
    *("no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores"),
    *("prefix", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens"),
    *("temperature", "top_k", "top_p", "typical_p", "transformers.js_config"),
    *("sbert_ce_default_activation_function", "type_sequence_label_size"),
)


@dataclasses.dataclass(frozen=True)
class BertShape:
    """Settings of config.json that the graph needs, with the same names."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1


@dataclasses.dataclass(frozen=True)
class HfCheckpoint:
    """A checked checkpoint in memory.

    `weights` maps Hugging Face's names without `bert.` (`embeddings.word_embeddings.weight`) to
    float32 arrays; kernels are [out, in], as torch stores them. `has_pooler`: the two
    `pooler.dense` tensors are among them.
    """

    shape: BertShape
    weights: dict[str, np.ndarray]
    tokenizer: hf_tokenizer.HfTokenizer
    has_pooler: bool


def read_checkpoint(folder: Path) -> HfCheckpoint:
    """Reads and checks a folder written by `save_pretrained` of a BERT and its tokenizer.

    Args:
        folder: with config.json; model.safetensors or its shards; vocab.txt or tokenizer.json.

    Raises:
        UserError: a file is missing, damaged, inconsistent, not a BERT, or has an unknown setting.
    """
    checkpoint_files(folder)
    shape = read_shape(folder / CONFIG_FILE)
    weights = hf_files.read_weights(folder, expected=expected_shapes(shape), pooler=pooler_shapes(shape))
    tokenizer = hf_tokenizer.read_tokenizer(folder, num_rows=shape.vocab_size)
    return HfCheckpoint(shape, weights, tokenizer, has_pooler="pooler.dense.weight" in weights)


def checkpoint_files(folder: Path) -> list[str]:
    """Names of the files that a checkpoint is read from.

    Raises:
        UserError: a required file is missing; the message says how to get it.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"encoder.handle: {folder} has no {CONFIG_FILE}; a Hugging Face checkpoint folder holds {CONFIG_FILE},"
            f" {WEIGHTS_FILE}, and {VOCAB_FILE} or {PIPELINE_FILE}"
        )
    weights = hf_files.weight_files(folder)
    hf_tokenizer.require_files(folder)
    return [CONFIG_FILE, *weights, *(n for n in hf_tokenizer.TOKENIZER_FILES if (folder / n).is_file())]


def read_shape(path: Path) -> BertShape:
    """Reads config.json; refuses anything but a BERT with absolute positions.

    Raises:
        UserError: not JSON, a missing or unknown key, or a value that the graph does not support.
    """
    config = hf_files.read_json(path)
    fields = {field.name: field for field in dataclasses.fields(BertShape)}
    hf_files.require_values(path, {"model_type": None, **config}, _MUST_BE)
    hf_files.refuse_unknown_keys(path, config, (*_MUST_BE, *_HARMLESS, *fields))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in config:
            if field.default is dataclasses.MISSING:
                raise UserError(f"{path}: key {name} is missing; it is no complete BERT configuration")
        elif name == "hidden_act":
            values[name] = config[name]
        else:
            whole = field.default is dataclasses.MISSING
            values[name] = hf_files.number(path, config, name, whole=whole)
    shape = BertShape(**values)
    if shape.hidden_size % shape.num_attention_heads:
        raise UserError(
            f"{path}: hidden_size {shape.hidden_size} is no multiple of"
            f" num_attention_heads {shape.num_attention_heads}"
        )
    if shape.num_hidden_layers > MAX_LAYERS:
        raise UserError(
            f"{path}: num_hidden_layers is {shape.num_hidden_layers}; at most {MAX_LAYERS} are converted"
        )
    if shape.type_vocab_size < 2:
        raise UserError(f"{path}: type_vocab_size is {shape.type_vocab_size}; a pair of texts needs 2 rows")
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if (rate := getattr(shape, name)) >= 1:
            raise UserError(f"{path}: {name} is {rate}; it must be below 1")
    return shape


def expected_shapes(shape: BertShape) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a BERT of this shape but the pooler's, as torch stores them."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    expected: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (shape.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (shape.max_position_embeddings, hidden),
        "embeddings.token_type_embeddings.weight": (shape.type_vocab_size, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    dense = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
    }
    for layer in range(shape.num_hidden_layers):
        prefix = f"encoder.layer.{layer}."
        for name, kernel in dense.items():
            expected[f"{prefix}{name}.weight"], expected[f"{prefix}{name}.bias"] = kernel, kernel[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            expected[f"{prefix}{name}.weight"] = expected[f"{prefix}{name}.bias"] = (hidden,)
    return expected


def pooler_shapes(shape: BertShape) -> dict[str, tuple[int, ...]]:
    """Name and shape of the tensors of the pooler, which some checkpoints do not have."""
    return {
        "pooler.dense.weight": (shape.hidden_size, shape.hidden_size),
        "pooler.dense.bias": (shape.hidden_size,),
    }
