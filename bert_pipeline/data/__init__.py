"""Tables, spans, features of texts, their statistics and drift."""
