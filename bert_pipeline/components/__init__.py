"""Components of the graph that TFX does not have, or has differently; one file each."""
