"""Text classification with BERT on TensorFlow Extended: the graph, its settings and its command line."""
