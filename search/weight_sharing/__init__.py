"""Trains one weight-sharing network over a search space: see README.md of search/accuracy."""
