"""Many streams at once, and many idle connections, through the whole server and through a plain peer beside it."""
