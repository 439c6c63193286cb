"""Makes this folder: a tiny BERT with drawn weights, and torch's answers to a few inputs.

    python make_reference.py       (torch 2.13.0 and transformers 5.23.0; numpy)

reference.npz: input_word_ids, input_mask, input_type_ids int32 [4, 24]; sequence_output [4, 24, 32] and
pooled_output [4, 32] float32, as transformers' BertModel computes them in eval mode. The rows hold 1, 7, 24
and 12 tokens.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

FOLDER = Path(__file__).parent

VOCABULARY = (  # noqa: SIM905 - as a list it would be 64 lines
    "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] ! ' , - . ? a b c d e f g h i l m n o p r s t u w y "
    "##s ##e ##ed ##ing ##ly ##er ##t ##n the and is are it my am this not was very good bad great poor "
    "shoe shoes sole heel fit love hate comfort ##able"
).split(" ")

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def main() -> None:
    torch.manual_seed(7)
    model = BertModel(BertConfig(**SHAPE), add_pooling_layer=True).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # BERT's own 0.02 would leave the layers nearly linear and the biases 0.
            weight.copy_(torch.randn_like(weight) * 0.2 + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
    model.save_pretrained(FOLDER)
    (FOLDER / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (FOLDER / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}) + "\n")

    random, lengths = np.random.default_rng(3), np.array([[1], [7], [24], [12]])
    columns = np.arange(24)[None]
    mask = (columns < lengths).astype(np.int32)
    word_ids = (random.integers(5, 64, mask.shape) * mask).astype(np.int32)
    word_ids[:, 0] = VOCABULARY.index("[CLS]")
    type_ids = ((columns >= lengths // 2) * mask).astype(np.int32)
    with torch.no_grad():
        output = model(*(torch.tensor(x).long() for x in (word_ids, mask, type_ids)))
    np.savez_compressed(
        FOLDER / "reference.npz",
        input_word_ids=word_ids,
        input_mask=mask,
        input_type_ids=type_ids,
        sequence_output=output.last_hidden_state.numpy(),
        pooled_output=output.pooler_output.numpy(),
    )


if __name__ == "__main__":
    main()
