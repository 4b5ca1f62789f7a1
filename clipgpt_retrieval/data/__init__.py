"""What `training/` and `evaluation/` read: embedding folders, captions, interleaved queries, splits and samplers."""
