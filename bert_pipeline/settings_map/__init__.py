"""The map: every component of the graph and every setting of a task file, and the files behind them."""
