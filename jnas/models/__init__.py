"""Trained networks as things: saved, loaded, and used to classify images."""

from jnas.models.architecture import Architecture, of_genotype
from jnas.models.model import Model, Prediction
from jnas.models.preprocessing import Preprocessing, of_dataset
from jnas.models.storage import load, save
from jnas.models.supernet import Description, TrainedSupernet
from jnas.models.supernet_storage import load as load_supernet
from jnas.models.supernet_storage import save as save_supernet

__all__ = [
    "Architecture",
    "Description",
    "Model",
    "Prediction",
    "Preprocessing",
    "TrainedSupernet",
    "load",
    "load_supernet",
    "of_dataset",
    "of_genotype",
    "save",
    "save_supernet",
]
