"""Trained networks as things: saved, loaded, and used to classify images."""

from jnas.models.architecture import Architecture as Architecture
from jnas.models.architecture import of_genotype as of_genotype
from jnas.models.model import Model as Model
from jnas.models.model import Prediction as Prediction
from jnas.models.preprocessing import Preprocessing as Preprocessing
from jnas.models.preprocessing import of_dataset as of_dataset
from jnas.models.storage import load as load
from jnas.models.storage import save as save
