"""Discrete search methods over encodings; importing this package registers them."""

from jnas.controllers.random import random_search as random_search
