"""The trained supernet of a search, with all that it needs to classify images."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, spaces, types
from jnas.models import learned as learned_lib
from jnas.models import model as model_lib
from jnas.models import preprocessing as preprocessing_lib
from jnas.spaces import rows


@dataclasses.dataclass(frozen=True)
class Description:
    """What a supernet is built from.

    Attributes:
      space: that it computes.
      size: its size.
      variant: its edge variant, whose auxiliary skip and dropout are off, as they are
        when a search has ended.
      normalise_pools: whether a norm follows each pool; of cells only.
      dtype: of the activations, one of ``architecture.DTYPES``.
    """

    space: spaces.Space
    size: networks.Size
    variant: networks.EdgeVariant = networks.EdgeVariant()
    normalise_pools: bool = True
    dtype: str = "float32"

    def build(self) -> networks.Supernet:
        """Builds the supernet."""
        own = {}
        if rows.has_edges(self.space):
            own = {"normalise_pools": self.normalise_pools}
        return networks.supernet(
            self.space,
            self.size,
            dtype=jnp.dtype(self.dtype),
            variant=self.variant,
            **own,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedSupernet:
    """A trained supernet; ``models.load_supernet`` reads one.

    It normalises by the statistics of the batch that it is given, as in the search: an
    image's outputs depend on the others, and single images have poor statistics.

    Attributes:
      description: what it is built from.
      params: its parameters.
      logits: of the options at the end of the search; leaves f32[..., O].
      edge_logits: f32[C, E] of the edges; None where the method has none.
      weights: mixing weights at the end, from which the cell was derived.
      preprocessing: what turns raw images into its input.
      class_names: name of each class; empty if they are unknown.
      figures: results of the search; JSON values.
      versions: of the programs that trained it.
      learned: its task.
    """

    description: Description
    params: types.Params
    logits: types.Logits
    edge_logits: np.ndarray | None
    weights: types.Weights
    preprocessing: preprocessing_lib.Preprocessing
    class_names: tuple[str, ...] = ()
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learned: learned_lib.Learned = learned_lib.Learned()

    @property
    def space(self) -> spaces.Space:
        """The space of its cells."""
        return self.description.space

    def apply(self, images: Any, weights: types.Weights | None = None) -> np.ndarray:
        """Computes the outputs of one batch of images.

        Args:
          images: as for ``Model.logits``, at least two.
          weights: mixing weights; None means those of the search's end.

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
        weights = jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float32),
            self.weights if weights is None else weights,
        )
        wanted, got = _shapes(rows.shapes(self.space)), _shapes(weights)
        if got != wanted:
            raise ValueError(
                f"weights must have the space's shape {wanted}, got {got}. Use "
                "supernet.space.weights(encoding)."
            )
        return np.asarray(self._compiled(self.params, pixels, weights))

    def predict(
        self, images: Any, encoding: Any = None, *, batch_size: int = 256
    ) -> model_lib.Prediction | dict[str, np.ndarray]:
        """Classifies images by the supernet, or by one architecture in it.

        Of other tasks than classification it gives their answers, as ``Model``.

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
        if self.learned.name != learned_lib.CLASSIFICATION:
            return model_lib.answers(self.learned.task, logits)
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
            x = self.learned.prepared(pixels, self.preprocessing)
            outputs = supernet.apply(
                params,
                x,
                weights,
                key=jax.random.key(0),
                variant_inputs=inputs,
            )
            return outputs.astype(jnp.float32)

        return jax.jit(apply)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def _encoding(encoding: Any, space: spaces.Space) -> np.ndarray:
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
