"""The stand-in for farmhash gives farmhash's values."""

from __future__ import annotations

from bert_pipeline.setup import farmhash_standin


def test_the_farmhash_stand_in_gives_farmhashs_values() -> None:
    """Values of pyfarmhash 0.3.2."""
    assert farmhash_standin.fingerprint64("a") == 12917804110809363939
    assert farmhash_standin.fingerprint64(b"hello" * 30) == 7264175839661047038
