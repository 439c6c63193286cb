"""`make setup` and `make doctor`: the environment, its lock, and checks of the machine."""
