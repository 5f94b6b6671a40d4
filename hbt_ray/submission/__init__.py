"""Jobs, and roads of several, on a Ray cluster: what is sent, submitting and following, and running the stages."""
