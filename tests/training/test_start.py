"""What a run says at its start."""

from jaxdrive.training.start import idle_gpu_warning


def test_an_idle_gpu_is_told_with_the_line_that_installs_its_support():
    warning = idle_gpu_warning("cpu", has_gpu=True, chosen=False)
    assert "pip install -e '.[cuda]'" in warning
    assert idle_gpu_warning("gpu", has_gpu=True, chosen=False) is None
    assert idle_gpu_warning("cpu", has_gpu=False, chosen=False) is None
    assert idle_gpu_warning("cpu", has_gpu=True, chosen=True) is None
