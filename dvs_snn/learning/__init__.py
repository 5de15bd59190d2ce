"""Data sets become clips, clips train networks: losses, rules, metrics, trainer. May import `pipeline` and below."""
