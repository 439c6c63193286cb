"""The verbs on what ran before: lineage, compare, rollback, gc."""
