"""Overlay, video, plots; the only room that draws (cv2, matplotlib). May import `pipeline` and below."""
