"""`monitor`: request logs, labels that arrive later and training's statistics -> fine, watch or retrain."""
