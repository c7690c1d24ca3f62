"""What the backend promises, measured: `make bench`, or `python -m benchmarks overhead webhooks`."""
