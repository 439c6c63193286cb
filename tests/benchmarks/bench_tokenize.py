"""How many texts a second `bert_text.encode` turns into ids, beside Hugging Face's tokenizers.

    python tests/benchmarks/bench_tokenize.py VOCAB CSV COLUMN [--batch 512] [--max-seq-length 128]

Both get the same texts in the same batches, in one process; each figure is the best of five passes.
TensorFlow and tokenizers use as many threads as they like: pin with `taskset -c 0` for one core.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence

import bert_text
import tensorflow as tf
from tokenizers import BertWordPieceTokenizer


def texts_per_second(encode: Callable[[list[str]], object], batches: Sequence[list[str]]) -> float:
    """Best of five passes over the batches; one more goes before them, uncounted (tracing, caches)."""
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        for batch in batches:
            encode(batch)
        seconds.append(time.perf_counter() - start)
    return sum(len(batch) for batch in batches) / min(seconds[1:])


def main() -> None:
    """Prints one line a tokenizer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vocab")
    parser.add_argument("csv")
    parser.add_argument("column")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--max-seq-length", type=int, default=128)
    arguments = parser.parse_args()
    with open(arguments.csv, encoding="utf-8", newline="") as file:
        texts = [row[arguments.column] for row in csv.DictReader(file)]
    batches = [texts[i : i + arguments.batch] for i in range(0, len(texts), arguments.batch)]

    vocab = bert_text.load_vocabulary(arguments.vocab, lower_case=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def ours(batch: tf.Tensor) -> dict[str, tf.RaggedTensor]:
        return bert_text.encode([batch], vocab=vocab, max_seq_length=arguments.max_seq_length)

    theirs = BertWordPieceTokenizer(arguments.vocab, lowercase=True)
    theirs.enable_truncation(arguments.max_seq_length, strategy="longest_first")
    mean = sum(map(len, texts)) / len(texts)
    print(f"{len(texts)} texts of {mean:.0f} characters on average, batches of {arguments.batch}")
    print(f"bert_text    {texts_per_second(lambda batch: ours(tf.constant(batch)), batches):8.0f} texts/s")
    print(f"tokenizers   {texts_per_second(theirs.encode_batch, batches):8.0f} texts/s")


if __name__ == "__main__":
    main()
