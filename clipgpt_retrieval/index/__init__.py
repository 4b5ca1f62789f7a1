"""Items of an index: their embeddings and metadata, whatever kind of index holds them."""
