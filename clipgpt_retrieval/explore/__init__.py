"""What is in an index: its table of contents, its map, and how it differs from another."""
