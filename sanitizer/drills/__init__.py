"""Known attacks as data transformations, for tests, benchmarks and decoys."""
