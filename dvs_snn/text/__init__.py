"""Tokens, generation, chat; uses `nn`, `models`, `learning`."""
