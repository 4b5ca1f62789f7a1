"""Metrics of retrieval, captions, calibration and uncertainty: arrays in, numbers out; no model is known here."""
