"""`new-task`: looks at a data set, says what it chose and why, and writes a task file."""
