"""What tests share: a cache folder that is not the user's, and a form's derivatives."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """Gives launchers a cache folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def three():
    """Gives (form, x, w, g, **how) -> a convolution's three derivatives, compiled."""

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
