"""Components that TFX lacks or implements differently; one file each."""
