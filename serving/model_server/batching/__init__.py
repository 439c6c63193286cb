"""Batches requests of many clients: the queue, its scheduler, its parameters."""
