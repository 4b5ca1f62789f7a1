"""What the plugin adds to clip-retrieval's web front end (installed as ``clipgpt_retrieval.front_patch``)."""
