"""Monitoring of a run: metrics, diagnoses, previews, curves, best checkpoint, trackers."""
