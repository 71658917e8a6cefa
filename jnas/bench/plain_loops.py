"""Two controllers as plain Python loops, to compare the compiled ones with.

They run one cell of one run at a time, as NAS code is usually written. They share no
code and no random numbers with jnas.discrete.controllers, so that results agree only in
distribution. The tests use them as an oracle, the benchmark as the baseline.
"""

import collections
import math
import random


def evolution(lookup, sizes, num_evaluations, seed, population_size=10, sample_size=3):
    """Regularized evolution; returns [(encoding, score)] in order of evaluation."""
    rng = random.Random(seed)
    free = [gene for gene, size in enumerate(sizes) if size > 1]
    history, queue = [], collections.deque()
    for number in range(num_evaluations):
        if number < population_size:
            child = tuple(rng.randrange(size) for size in sizes)
        else:
            sample = [rng.choice(queue) for _ in range(sample_size)]
            parent = max(sample, key=lambda member: member[1])[0]
            gene = rng.choice(free)
            others = [v for v in range(sizes[gene]) if v != parent[gene]]
            child = (*parent[:gene], rng.choice(others), *parent[gene + 1 :])
        member = child, lookup(child)
        history.append(member)
        queue.append(member)
        if len(queue) > population_size:
            queue.popleft()
    return history


def reinforce(lookup, sizes, num_evaluations, seed, rate=0.01, decay=0.9):
    """REINFORCE with Adam and a bias-corrected moving baseline; returns the same."""
    rng = random.Random(seed)
    logits = [[rng.gauss(0, 1e-3) for _ in range(size)] for size in sizes]
    first = [[0.0] * size for size in sizes]
    second = [[0.0] * size for size in sizes]
    numerator = denominator = 0.0
    history = []
    for step in range(1, num_evaluations + 1):
        policy = []
        for row in logits:
            weights = [math.exp(value) for value in row]
            total = sum(weights)
            policy.append([weight / total for weight in weights])
        child = tuple(rng.choices(range(len(row)), row)[0] for row in policy)
        score = lookup(child)
        history.append((child, score))
        numerator = decay * numerator + (1 - decay) * score
        denominator = decay * denominator + (1 - decay)
        advantage = score - numerator / denominator
        for gene, row in enumerate(policy):
            for value, chance in enumerate(row):
                grad = advantage * (chance - (child[gene] == value))
                m = first[gene][value] = 0.9 * first[gene][value] + 0.1 * grad
                v = 0.999 * second[gene][value] + 0.001 * grad * grad
                second[gene][value] = v
                m, v = m / (1 - 0.9**step), v / (1 - 0.999**step)
                logits[gene][value] -= rate * m / (math.sqrt(v) + 1e-8)
    return history
