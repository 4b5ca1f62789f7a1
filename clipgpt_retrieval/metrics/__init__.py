"""Metrics of retrieval, captions and calibration with their uncertainty: arrays in, numbers out, no model."""
