"""Reports of a run: one HTML page, a model card, and TensorBoard; all from ML Metadata and artifacts."""
