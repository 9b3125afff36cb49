"""What a run reports about itself: metrics, curves, previews, diagnoses, trackers."""
