"""Programs of their own, run in the environment of what they measure. They answer lines of JSON."""
