"""What runs a pushed model and talks to it; stands alone and imports nothing else of the project."""
