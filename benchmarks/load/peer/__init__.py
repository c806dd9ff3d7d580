"""The peer: a plain FastAPI application before the same scripted engine. Runs in an environment of its own."""
