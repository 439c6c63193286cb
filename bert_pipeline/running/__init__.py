"""Runs on this machine: the local runner, the summary, notices, and separate graphs."""
