"""A process and its models; nothing else may lie here: Lava imports it all."""
