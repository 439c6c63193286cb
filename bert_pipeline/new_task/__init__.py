"""`new-task`: inspects a data set, explains its choices, and writes a task file."""
