"""Tables, spans, features of texts, their statistics and how far they drift."""
