"""Intervals and verdicts: one way to say how sure a number is, for gates, monitor, report and coverage."""
