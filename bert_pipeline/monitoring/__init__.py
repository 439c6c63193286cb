"""`monitor`: request logs, late labels and training statistics -> fine, watch or retrain."""
