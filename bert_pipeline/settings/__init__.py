"""Task files: how they are read and checked, where runs write, what errors look like."""
