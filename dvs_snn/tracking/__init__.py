"""Kalman filter, association, track life. May import `nn`, `representation`, `events`."""
