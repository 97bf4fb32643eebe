"""Held samples, their cases, and the decisions of reviewers."""
