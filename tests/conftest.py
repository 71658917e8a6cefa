"""What tests share: quick compiling, a cache folder, and a form's derivatives."""

import gc
import importlib.metadata
import os

import pytest

# Nearly all of the suite's time is compiling, and this takes half of it away. It stands
# here because it has to come before JAX. Flags that are given stay: `XLA_FLAGS= pytest`
# compiles everything as users do.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_VERSION = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))
if _VERSION < (0, 11):  # newer ones end the process where they do not know a flag
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)


def pytest_collection_finish():
    """Collects garbage less often: tracing makes much, and took half as long again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """Gives launchers a cache folder of the tests' own, the same for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture(scope="session")
def users_environment(own_cache_folder):
    """Gives an environment for processes that compile as users' do."""
    return {k: v for k, v in os.environ.items() if (k, v) != ("XLA_FLAGS", QUICK)}


@pytest.fixture
def three():
    """Gives (form, x, w, g, **how) -> a convolution's three derivatives, compiled."""
    import jax  # late: the flags above come before it

    def compute(form, x, w, g, **how):
        @jax.jit
        def run(x, w, g):
            return (
                form.conv(x, w, **how),
                form.input_gradient(g, w, size=x.shape[2:4], **how),
                form.kernel_gradient(x, g, window=w.shape[1:3], **how),
            )

        return run(x, w, g)

    return compute
