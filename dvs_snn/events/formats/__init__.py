"""Event files, one module per family: `read_*(path, sensor)` and, where the format allows it, `write_*(path, stream)`.

Readers give streams that are not repaired yet; `dvs_snn.events.files` finds the format, repairs, and writes atomically.
A reader never guesses in silence: what a file does not say and was assumed goes into the tally as a note.
"""
