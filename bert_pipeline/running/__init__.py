"""A run on this machine: the local runner, the summary, notices, and other graphs that are run alone."""
