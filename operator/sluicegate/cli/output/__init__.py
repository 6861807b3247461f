"""What commands show: views (data), their layout as lines, and the terminal."""
