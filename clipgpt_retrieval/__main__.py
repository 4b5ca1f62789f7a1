"""``python -m clipgpt_retrieval`` is ``clipgpt-retrieval``."""

from clipgpt_retrieval.cli import main

if __name__ == "__main__":
    main()
