"""Pretrained BERTs: found, downloaded, checked, converted to TF Hub's format, kept in a cache."""
