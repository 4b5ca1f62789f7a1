"""A folder of images with one command: embedded, indexed, with CLIP-GPT, and served."""
