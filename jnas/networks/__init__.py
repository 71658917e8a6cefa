"""Networks as pure functions of their parameters: of cells, of chains, hand-made."""

from jnas.networks import cell_network as cell_network
from jnas.networks import chain_network as chain_network
from jnas.networks import spots as spots
from jnas.networks.baselines import Baseline as Baseline
from jnas.networks.costs import Costs as Costs
from jnas.networks.costs import derived_chances as derived_chances
from jnas.networks.costs import option_costs as option_costs
from jnas.networks.count import abstract as abstract
from jnas.networks.count import count_elementwise as count_elementwise
from jnas.networks.count import count_macs as count_macs
from jnas.networks.count import count_params as count_params
from jnas.networks.count import measure as measure
from jnas.networks.few_shot import check_split as check_split
from jnas.networks.few_shot import copied as copied
from jnas.networks.few_shot import split as split
from jnas.networks.inheritance import inherit as inherit
from jnas.networks.inheritance import widen as widen
from jnas.networks.inside import Candidate as Candidate
from jnas.networks.inside import Inside as Inside
from jnas.networks.latency import Latencies as Latencies
from jnas.networks.latency import measure_latencies as measure_latencies
from jnas.networks.latency import network_latency as network_latency
from jnas.networks.likeliest import cheapest as cheapest
from jnas.networks.likeliest import likeliest as likeliest
from jnas.networks.limits import Limit as Limit
from jnas.networks.limits import all_fit as all_fit
from jnas.networks.limits import best_within as best_within
from jnas.networks.limits import costs_of as costs_of
from jnas.networks.limits import dearest_within as dearest_within
from jnas.networks.limits import extent as extent
from jnas.networks.limits import fits as fits
from jnas.networks.limits import limit as limit
from jnas.networks.mixture import EdgeVariant as EdgeVariant
from jnas.networks.mixture import VariantInputs as VariantInputs
from jnas.networks.network import Network as Network
from jnas.networks.network import Size as Size
from jnas.networks.network import Supernet as Supernet
from jnas.networks.network import derived as derived
from jnas.networks.network import has_auxiliary as has_auxiliary
from jnas.networks.network import one_shot as one_shot
from jnas.networks.network import supernet as supernet
from jnas.networks.network import switched as switched
from jnas.networks.recalibration import recalibrated as recalibrated
from jnas.networks.recalibration import recalibrates as recalibrates
from jnas.networks.skeleton import check_auxiliary as check_auxiliary

# as they were called in 0.1
Shape, Form, FormInputs = Size, EdgeVariant, VariantInputs
