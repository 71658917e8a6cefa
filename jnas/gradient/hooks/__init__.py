"""Hooks, called at ends of epochs; importing this package registers them."""

from jnas.gradient.hooks import angles as angles
from jnas.gradient.hooks import paths as paths
from jnas.gradient.hooks import projection as projection
from jnas.gradient.hooks import proposals as proposals
from jnas.gradient.hooks import prune as prune
from jnas.gradient.hooks import robust as robust
from jnas.gradient.hooks import sgas as sgas
from jnas.gradient.hooks import shapley as shapley
from jnas.gradient.hooks import shrink as shrink
from jnas.gradient.hooks import watch as watch
from jnas.gradient.hooks.hook import Hook as Hook
from jnas.gradient.hooks.hook import HookState as HookState
from jnas.gradient.hooks.hook import Search as Search
