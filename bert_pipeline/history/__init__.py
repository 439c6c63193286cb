"""What ran before: lineage, runs side by side, rollback, garbage collection."""
