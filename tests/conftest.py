"""What tests share: quick compiling, kept programs, folders, and small memory."""

import ctypes
import gc
import importlib.metadata
import os
import pathlib
import resource
import sys

import hypothesis
import psutil
import pytest

# Nearly all of the suite's time is compiling, and this takes half of it away. It stands
# here because it has to come before JAX. Flags that are given stay: `XLA_FLAGS= pytest`
# compiles everything as users do.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_VERSION = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))
if _VERSION < (0, 11):  # newer ones end the process where they do not know a flag
    QUICK += " --xla_cpu_use_fusion_emitters=false"
    QUICK += " --xla_cpu_parallel_codegen_split_count=1"  # parts are compiled alone
os.environ.setdefault("XLA_FLAGS", QUICK)

# no test asserts how long something takes: a busy machine is no fault
hypothesis.settings.register_profile("jnas", deadline=None)
hypothesis.settings.load_profile("jnas")

KEPT = pathlib.Path(__file__).parent.parent / ".jax_test_cache"
MAX_KEPT_BYTES = 1 << 30
MAX_BYTES = 800 << 20  # resident, of a worker between two tests
GROWTH = 200 << 20  # since programs were dropped: what stays is not theirs
PEAKS = pytest.StashKey[dict]()
FLOOR = pytest.StashKey[int]()


def pytest_configure(config):
    """Keeps programs in processes that run tests, which a controller does not."""
    config.stash[PEAKS] = {}
    if _worker(config) or config.getoption("dist", "no") == "no":
        keep_programs(_worker(config) in ("", "gw0"))


def _worker(config) -> str:
    """Returns the name of a worker, or "" in any other process."""
    return getattr(config, "workerinput", {}).get("workerid", "")


def keep_programs(prunes):
    """Keeps every compiled program for the next run of the tests.

    JAX finds an entry by the program, jaxlib's version, XLA's flags and the CPU, and it
    is the very binary that was compiled: results are the same bit for bit.

    Args:
      prunes: whether this process takes out what was used longest ago.
    """
    # jaxlib logs two errors, which are none, for each kept program that it loads on a
    # CPU with AVX-512 (see jnas/run/compile_cache.py); processes that tests start speak
    with pytest.MonkeyPatch.context() as patch:
        if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
            patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        import jax  # late: the flags above come before it
        from jax._src import lru_cache

    if jax.config.jax_compilation_cache_dir:
        return
    KEPT.mkdir(exist_ok=True)
    if prunes:
        prune(KEPT, MAX_KEPT_BYTES)
    jax.config.update("jax_compilation_cache_dir", str(KEPT))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

    def put(self, key, value):
        # JAX writes an entry in place: another worker could read half of it, and what
        # a killed process left would be warned of ever after
        path = pathlib.Path(str(self.path), f"{key}-cache")
        beside = path.with_name(f".{key}.{os.getpid()}")
        beside.write_bytes(value)
        beside.replace(path)

    lru_cache.LRUCache.put = put


def prune(folder, max_bytes):
    """Removes the files that were used longest ago, until the rest is small enough."""
    found = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    found.sort(key=lambda pair: -max(pair[1].st_atime, pair[1].st_mtime))
    for path, stat in found:
        max_bytes -= stat.st_size
        if max_bytes < 0:
            path.unlink(missing_ok=True)


@pytest.fixture
def compiled_anew():
    """Turns the kept programs off: a loaded one has no figures of its compilation."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()


def pytest_collection_finish():
    """Collects garbage less often: tracing makes much, and took half as long again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    """Drops programs where a worker has grown."""
    if resident() > max(MAX_BYTES, item.config.stash.get(FLOOR, 0) + GROWTH):
        drop_programs()
        item.config.stash[FLOOR] = resident()


@pytest.fixture
def few_programs():
    """Drops programs before a test that takes a gigabyte by itself."""
    drop_programs()


def resident():
    """Returns the bytes of memory of this process."""
    return psutil.Process().memory_info().rss


def drop_programs():
    """Drops compiled programs; glibc gives back only what it is asked for."""
    import jax

    jax.clear_caches()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Notes what this process took."""
    config = session.config
    own = resource.getrusage(resource.RUSAGE_SELF)
    started = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(u.ru_utime + u.ru_stime for u in (own, started))
    peak = own.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if hasattr(config, "workeroutput"):
        config.workeroutput["peak"] = peak, seconds
    elif not config.stash[PEAKS]:
        config.stash[PEAKS]["tests"] = peak, seconds


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Hears what a worker took."""
    peak = getattr(node, "workeroutput", {}).get("peak")
    if peak:
        node.config.stash[PEAKS][node.gateway.id] = peak


def pytest_terminal_summary(terminalreporter, config):
    """Says what each worker took."""
    for name, (peak, seconds) in sorted(config.stash[PEAKS].items()):
        terminalreporter.write_line(
            f"{name}: {peak / 1e9:.2f} GB at most, {seconds:.0f} s of CPU"
        )


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """Gives launchers a cache folder of the tests' own, the same for all workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_folder(tmp_path_factory) / "cache"))
        yield
        if "forks" in sys.modules:
            sys.modules["forks"].stop()


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory):
    """Gives a folder that all workers share."""
    return shared_folder(tmp_path_factory)


def shared_folder(tmp_path_factory):
    """Returns the folder of this run of the tests, the same in all workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def users_environment(own_cache_folder):
    """Gives an environment for processes that compile as users' do."""
    return {k: v for k, v in os.environ.items() if (k, v) != ("XLA_FLAGS", QUICK)}


@pytest.fixture
def float64(request):
    """Runs in float64, where forms agree to 1e-10, unless a test is marked single."""
    import jax  # late: the flags above come before it

    with jax.enable_x64("single" not in request.keywords):
        yield


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
