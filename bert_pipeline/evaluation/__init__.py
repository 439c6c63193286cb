"""What TFMA computes for a task, and how its records are read: metrics by slice beside the baseline's."""
