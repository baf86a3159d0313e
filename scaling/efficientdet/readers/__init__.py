"""Readers of boxes: one file for each format."""
