"""Where the program begins: the only importers of the container."""
