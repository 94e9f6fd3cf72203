"""The parts of the benchmark: each starts what it needs and says what there is to measure."""
