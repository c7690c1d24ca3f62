"""The whole system on one machine, for someone who wants to see it.

smears: the images, and their truth where it is known. stack: Label Studio, Redis, backend and worker as processes.
project: the project in Label Studio. loop: the same without a person. report: what was seen, as a table.
"""
