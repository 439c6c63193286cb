"""The verbs of the command line, one file each: the arguments, and the call of what does the work."""
