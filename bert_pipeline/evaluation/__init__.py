"""The Evaluator's configuration, and reading TFMA's records: metrics by slice beside the baseline's."""
