"""Event-camera perception for robots with spiking neural networks.

Rooms, from the bottom: `events` (what a camera says), `representation` (a window becomes a map), `nn` (tensors in
time), `models` and `tracking`, `pipeline` (a recording becomes decisions), then `learning`, `deploy`, `viz`, `text`,
`bench` and `cli`.
ARCHITECTURE.md draws the map; each room's docstring says what it may import.
"""

__version__ = "0.1.0"
