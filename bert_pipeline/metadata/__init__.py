"""ML Metadata: opening it, reading runs, executions and artifacts, recording a run."""
