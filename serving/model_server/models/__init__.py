"""Models on disk and in memory: versions, loading, signatures, calls."""
