"""Packaging of jnas; everything else about the project is in pyproject.toml."""

import setuptools

# flax 0.12.8 does not import with jax 0.11 or newer although pip allows the pair, and
# jax 0.10.2 is the last for Python 3.11: hence the markers.
REQUIRES = [
    'jax>=0.10.2,<0.11; python_version<"3.12"',
    'jax>=0.11.1,<0.13; python_version>="3.12"',
    'flax>=0.12.8,<0.12.9; python_version<"3.12"',
    'flax>=0.12.12,<0.13; python_version>="3.12"',
    "optax>=0.2.8,<0.3",
    "chex>=0.1.92,<0.2",
    "orbax-checkpoint>=0.12.8,<0.13",
    "absl-py>=2.3.1,<3",
    "numpy>=2.0",
    "tensorflow-datasets>=4.9.10,<5",
    "grain>=0.2.18,<0.3",
    "importlib_resources",
    "pillow",
    "safetensors>=0.6,<1",
    "tensorboardX>=2.6.5",
    "scipy>=1.13",
    "altair>=6,<7",
    "vl-convert-python>=1.9,<2",
]
EXTRAS = {
    # litert-converter cannot be listed: it pins typing-extensions below chex's
    "export": ["onnx>=1.18,<2", "flatbuffers>=24", "ai-edge-litert>=2,<3"],
    "tune": ["optuna>=4.5,<6"],
    "ray": ["ray>=2.50,<3"],
    "slurm": ["submitit>=1.5,<2"],
    "dev": [
        "pytest>=8",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.12",
        "nbclient>=0.10",
        "nbformat>=5.10",
        "ipykernel>=6.29",
        "playwright>=1.60",
        "psutil>=6",
        "onnx>=1.18,<2",
        "onnxruntime>=1.20,<2",
        "flatbuffers>=24",
        "ai-edge-litert>=2,<3",
        "optuna>=4.5,<6",
        "ray>=2.50,<3",
        "submitit>=1.5,<2",
    ],
    "cuda12": [
        'jax[cuda12]>=0.10.2,<0.11; python_version<"3.12"',
        'jax[cuda12]>=0.11.1,<0.13; python_version>="3.12"',
    ],
    "cuda13": [
        'jax[cuda13]>=0.10.2,<0.11; python_version<"3.12"',
        'jax[cuda13]>=0.11.1,<0.13; python_version>="3.12"',
    ],
    "tpu": [
        'jax[tpu]>=0.10.2,<0.11; python_version<"3.12"',
        'jax[tpu]>=0.11.1,<0.13; python_version>="3.12"',
    ],
}

# benchmarks and endurance tests are for checkouts
PACKAGES = setuptools.find_packages(
    include=["jnas", "jnas.*"],
    exclude=["jnas.bench", "jnas.bench.*", "jnas.endurance", "jnas.endurance.*"],
)

setuptools.setup(
    name="jnas",
    version="0.1.0",
    description="Neural architecture search as compiled JAX programs.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*PACKAGES, "jnas.experiments"],
    package_dir={"jnas.experiments": "experiments"},
    entry_points={"console_scripts": ["jnas = jnas.experiments.__main__:main"]},
    package_data={"jnas": ["**/*.npz", "**/*.json", "**/*.md", "**/*.txt"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
