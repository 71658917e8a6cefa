"""Trained networks in the formats of other programs."""

from jnas.export.formats import FORMATS as FORMATS
from jnas.export.formats import Exported as Exported
from jnas.export.formats import export as export
from jnas.export.torch import from_torch as from_torch
from jnas.export.torch import to_torch as to_torch
