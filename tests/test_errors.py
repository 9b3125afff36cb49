import pytest

from wgan.errors import MissingExtra, needs_extra


def test_a_missing_package_becomes_the_command_that_installs_it() -> None:
    with (
        pytest.raises(MissingExtra, match=r"drawing needs .* not_there.*pip install 'wgan\[cpu\]'"),
        needs_extra("cpu", purpose="drawing"),
    ):
        import not_there.inside  # type: ignore[import-not-found]  # noqa: F401


def test_a_missing_module_of_ours_stays_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("cpu", purpose="drawing"):
        import wgan.not_there  # type: ignore[import-not-found]  # noqa: F401
