"""Collections and models behind HTTP: replicas of Ray Serve that hold them, and the one server that asks these."""
