"""TensorBoard over the trainings of a task: collected from ML Metadata, side by side."""
