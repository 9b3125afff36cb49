"""Graph rewrites for a target, and lower precisions."""
