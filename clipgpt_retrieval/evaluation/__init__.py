"""Evaluates a clipgpt model on a collection: metrics, tables and a page."""
