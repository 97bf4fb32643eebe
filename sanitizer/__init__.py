"""Training-data poisoning detection and sanitization."""
