"""Fine-tuning a clipgpt model on embeddings and their captions."""
