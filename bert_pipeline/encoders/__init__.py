"""Pretrained BERTs: finds, downloads, checks, converts to TF Hub's format, and caches them."""
