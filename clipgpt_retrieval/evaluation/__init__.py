"""What a clipgpt model is worth: retrieval and caption metrics."""
