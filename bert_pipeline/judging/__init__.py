"""Intervals and verdicts: one measure of uncertainty for gates, monitor, report and coverage."""
