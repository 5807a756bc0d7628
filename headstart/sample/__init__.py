"""The sample catalogue: "Les Bonnes Affaires", French listings with drawn photos, from a seed."""

from headstart.sample.draw import COLUMNS, SampleColumns, draw_sample

__all__ = ["COLUMNS", "SampleColumns", "draw_sample"]
