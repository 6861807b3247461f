"""What is known about one resource: facts, how they are read from API objects, and what follows from them alone."""
