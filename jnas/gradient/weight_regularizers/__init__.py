"""Rules on the gradient of a supernet's parameters; importing registers them."""

from jnas.gradient.weight_regularizers import alignment as alignment
from jnas.gradient.weight_regularizers import freezing as freezing
from jnas.gradient.weight_regularizers import frozen_kernels as frozen_kernels
from jnas.gradient.weight_regularizers import path_gradients as path_gradients
from jnas.gradient.weight_regularizers.rule import Problem as Problem
from jnas.gradient.weight_regularizers.rule import build as build
from jnas.gradient.weight_regularizers.rule import without_carry as without_carry
