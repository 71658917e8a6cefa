"""The candidate operations; importing this package registers them."""

from jnas.ops.activation import activation as activation
from jnas.ops.conv import Conv as Conv
from jnas.ops.conv import DepthwiseConv as DepthwiseConv
from jnas.ops.conv import FactorizedReduce as FactorizedReduce
from jnas.ops.conv import relu_conv_norm as relu_conv_norm
from jnas.ops.conv import stack as stack
from jnas.ops.drop_path import drop_path as drop_path
from jnas.ops.drop_path import dropout as dropout
from jnas.ops.family import family as family
from jnas.ops.inverted import InvertedResidual as InvertedResidual
from jnas.ops.inverted import divisible as divisible
from jnas.ops.inverted import inverted_branch as inverted_branch
from jnas.ops.kernels.dense import dense_conv as dense_conv
from jnas.ops.kernels.pointwise import pointwise_conv as pointwise_conv
from jnas.ops.kernels.windows import avg_pool as avg_pool
from jnas.ops.kernels.windows import depthwise_conv as depthwise_conv
from jnas.ops.kernels.windows import max_pool as max_pool
from jnas.ops.norm import SEARCH as SEARCH
from jnas.ops.norm import STEM as STEM
from jnas.ops.norm import TRAINING as TRAINING
from jnas.ops.norm import Norm as Norm
from jnas.ops.pool import max_pool_3x3 as max_pool_3x3
from jnas.ops.skip import Identity as Identity
