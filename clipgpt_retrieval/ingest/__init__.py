"""Items into a collection and out of it: `load` and `delete` for Milvus, `add` and `delete` for a faiss index."""
