"""Networks by name: gesture, tracker, digits, text; backbones and heads.

May import `nn` and `representation`; every network is a `Temporal`.
"""
