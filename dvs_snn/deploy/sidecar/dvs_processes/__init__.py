"""Neurons that Lava does not have, one package each."""
