"""Publishing, signing, verifying and loading of clean data sets."""
