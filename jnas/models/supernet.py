"""The trained supernet of a search, with all that it needs to classify images."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, spaces, types
from jnas.models import model as model_lib
from jnas.models import preprocessing as preprocessing_lib


@dataclasses.dataclass(frozen=True)
class Description:
    """What a supernet is built from.

    Attributes:
      space: its cells.
      size: its size.
      variant: its edge variant, whose auxiliary skip and dropout are off, as they are
        when a search has ended.
      normalise_pools: whether a norm follows each pool.
      dtype: of the activations, one of ``architecture.DTYPES``.
    """

    space: spaces.CellSpace
    size: networks.Size
    variant: networks.EdgeVariant = networks.EdgeVariant()
    normalise_pools: bool = True
    dtype: str = "float32"

    def build(self) -> networks.Supernet:
        """Builds the supernet."""
        return networks.supernet(
            self.space,
            self.size,
            normalise_pools=self.normalise_pools,
            dtype=jnp.dtype(self.dtype),
            variant=self.variant,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedSupernet:
    """A trained supernet; ``models.load_supernet`` reads one.

    It normalises by the statistics of the batch that it is given, as in the search: an
    image's outputs depend on the others, and single images have poor statistics.

    Attributes:
      description: what it is built from.
      params: its parameters.
      logits: f32[C, E, O] of the operations at the end of the search.
      edge_logits: f32[C, E] of the edges; None where the method has none.
      weights: f32[C, E, O] mixing weights at the end, from which the cell was derived.
      preprocessing: what turns raw images into its input.
      class_names: name of each class; empty if they are unknown.
      figures: results of the search; JSON values.
      versions: of the programs that trained it.
    """

    description: Description
    params: types.Params
    logits: np.ndarray
    edge_logits: np.ndarray | None
    weights: np.ndarray
    preprocessing: preprocessing_lib.Preprocessing
    class_names: tuple[str, ...] = ()
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def space(self) -> spaces.CellSpace:
        """The space of its cells."""
        return self.description.space

    def apply(self, images: Any, weights: types.Weights | None = None) -> np.ndarray:
        """Computes the outputs of one batch of images.

        Args:
          images: as for ``Model.logits``, at least two.
          weights: f32[C, E, O] mixing weights; None means those of the search's end.

        Returns:
          f32[N, K].

        Raises:
          ValueError: images or weights of another shape, or of another range.
        """
        pixels = self.preprocessing.check(images).astype(np.float32)
        if len(pixels) < 2:
            raise ValueError(
                "images must be at least two, whose statistics normalise the supernet, "
                f"got {len(pixels)}. Give more at a time."
            )
        weights = np.asarray(self.weights if weights is None else weights, np.float32)
        if weights.shape != self.space.shape:
            raise ValueError(
                f"weights must have the space's shape {self.space.shape}, got "
                f"{weights.shape}. Use supernet.space.weights(encoding)."
            )
        return np.asarray(self._compiled(self.params, pixels, weights))

    def predict(
        self, images: Any, encoding: Any = None, *, batch_size: int = 256
    ) -> model_lib.Prediction:
        """Classifies images by the supernet, or by one architecture in it.

        Args:
          images: as for ``apply``; many are divided evenly.
          encoding: i32[G] of the architecture whose operations alone are used; None
            mixes by the weights of the search's end.
          batch_size: least number of images computed at a time, where there are so
            many; their statistics normalise.

        Raises:
          ValueError: images or an encoding that do not fit.
        """
        weights = None
        if encoding is not None:
            weights = self.space.weights(_encoding(encoding, self.space))
        images = self.preprocessing.check(images)
        batches = np.array_split(images, max(1, len(images) // batch_size))
        logits = np.concatenate([self.apply(batch, weights) for batch in batches])
        return model_lib.classified(logits, self.class_names)

    @functools.cached_property
    def _compiled(self) -> Callable:
        supernet, variant = self.description.build(), self.description.variant
        off = jnp.float32(0)
        inputs = networks.VariantInputs(
            off if variant.auxiliary_skip else None,
            off if variant.skip_dropout else None,
        )

        def apply(params, pixels, weights):
            x = self.preprocessing.normalise(pixels)
            outputs = supernet.apply(
                params,
                x,
                weights,
                key=jax.random.key(0),
                variant_inputs=inputs,
            )
            return outputs.astype(jnp.float32)

        return jax.jit(apply)


def _encoding(encoding: Any, space: spaces.CellSpace) -> np.ndarray:
    genes, sizes = np.asarray(encoding), np.array(space.sizes)
    if genes.shape != sizes.shape or genes.dtype.kind not in "iu":
        raise ValueError(
            f"encoding must be {len(sizes)} integers, got {genes.dtype} "
            f"{list(genes.shape)}. Use supernet.space.encode(genotype)."
        )
    if (genes < 0).any() or (genes >= sizes).any():
        bad = int(np.flatnonzero((genes < 0) | (genes >= sizes))[0])
        raise ValueError(
            f"encoding must have gene {bad} from 0 to {sizes[bad] - 1}, got "
            f"{genes[bad]}. Use supernet.space.encode(genotype)."
        )
    return genes.astype(np.int32)
