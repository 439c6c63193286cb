"""The places a graph can run, one file each."""
