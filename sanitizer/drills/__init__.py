"""Known attacks as data transformations: rows in, poisoned rows and the truth about each out.

They serve tests, benchmarks, the demo, and the decoys that tell what a run would have caught.  An attack is a pure function
of rows, rate, seed and variant; it knows nothing of the detectors.

>>> import pandas as pd
>>> rows = pd.DataFrame({"x": range(100), "label": ["cat", "dog"] * 50})
>>> made = ATTACKS["random_flip"](rows, rate=0.05, seed=1)
>>> int(made.mask.sum()), made.data.columns.tolist()
(5, ['x', 'label'])
"""

from sanitizer.drills.base import Attack, Data, Poisoned, Trigger
from sanitizer.drills.planting import Planted, plant, plant_all, sensible
from sanitizer.drills.power import floor, power_curve
from sanitizer.drills.registry import ATTACKS, families

__all__ = [
    "ATTACKS",
    "Attack",
    "Data",
    "Planted",
    "Poisoned",
    "Trigger",
    "families",
    "floor",
    "plant",
    "plant_all",
    "power_curve",
    "sensible",
]
