"""What `make setup` and `make doctor` run: the environment, its lock, and what is wrong with a machine."""
