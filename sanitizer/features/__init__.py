"""Samples become float32 matrices, and one neighbour graph that every witness shares."""
