"""hemaloop: blood-cell models inside Label Studio."""

__version__ = "0.1.0"
