"""The genotype of a space that is not one of cells: the option of each row, by name."""

import dataclasses

from jnas import registry
from jnas.spaces import genotype as rules


@dataclasses.dataclass(frozen=True)
class Choices:
    """An architecture as choices: the name of its space, and an option for each row.

    Attributes:
      space: name of the space in which it was found.
      choices: (row, option) pairs, in the space's order.

    Raises:
      GenotypeError: a name is not printable, there is no choice, a row occurs twice.

    Example:
      >>> Choices("mine", (("kernel/0", "3"), ("kernel/1", "5")))["kernel/1"]
      '5'
    """

    space: str
    choices: tuple[tuple[str, str], ...]

    def __post_init__(self):
        """Checks the names."""
        rules.check_name("space", self.space)
        ok = type(self.choices) is tuple and len(self.choices) > 0
        rule = "be a tuple of at least one (row, option)"
        rules.check(ok, "choices", rule, self.choices)
        for pair in self.choices:
            ok = type(pair) is tuple and len(pair) == 2
            rules.check(ok, "choices", "hold (row, option) pairs", pair)
            rules.check_name("row", pair[0])
            rules.check_name(f"option of {pair[0]}", pair[1])
        names = [name for name, _ in self.choices]
        ok = len(set(names)) == len(names)
        rules.check(ok, "choices", "be of different rows", names, "Remove one.")

    def __getitem__(self, row: str) -> str:
        """Returns the option of a row.

        Raises:
          GenotypeError: there is no row of that name.
        """
        chosen = dict(self.choices)
        rule = f"be one of {', '.join(chosen)}"
        rules.check(row in chosen, "row", rule, row, "Use one of these names.")
        return chosen[row]

    def canonical(self) -> "Choices":
        """Returns the same architecture; choices have one form."""
        return self


def space_of(genotype: Choices):
    """Returns the registered space of a genotype, which holds it.

    Args:
      genotype: the genotype.

    Raises:
      GenotypeError: the space is not registered, or has other rows or options.
    """
    known = list(registry.SPACES)
    todo = "Name the file that registers it with --plugins."
    rule = "be registered, as its file holds choices alone"
    rules.check(genotype.space in known, "space", rule, genotype.space, todo)
    space = registry.SPACES[genotype.space]()
    space.encode(genotype)  # raises
    return space
