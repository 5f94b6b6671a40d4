"""Several runs side by side: the demo, the report and the benchmark."""
