"""Benchmarks by name: each module has `run(args)` and is a subject of `dvs-snn bench`.

May import every room but `cli`.
"""
