"""History of a task: lineage, comparison of runs, rollback, garbage collection."""
