"""The report of a run: one self-contained HTML page and a model card, made from ML Metadata and the artifacts alone."""
