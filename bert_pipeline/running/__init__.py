"""A run on this machine: the local runner, the summary, and the verbs that run a graph."""
