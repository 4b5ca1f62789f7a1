"""Items of an index: their embeddings, and the metadata files beside them."""
