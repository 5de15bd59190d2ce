"""Other machines: NIR graph, integer package and its reference, Lava side-car, energy estimate.

May import `pipeline` and below.
"""
