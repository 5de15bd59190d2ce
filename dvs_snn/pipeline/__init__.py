"""A recording becomes decisions: configuration, windows, encoding, runtime, decisions, checkpoints.

One `Pipeline` object serves training, evaluation, replay and the robot. May import `models`, `tracking` and below.
"""
