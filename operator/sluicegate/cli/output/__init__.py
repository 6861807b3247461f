"""The output of the commands: views (data), their layout, and the terminal."""
