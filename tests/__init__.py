"""A package of its own, so that no installed one called `tests` stands in its place."""
