"""A server for SavedModels that speaks TensorFlow Serving's API: `python -m serving.model_server`."""
