"""Table of contents and map of an index, and its comparison with another."""
