"""Convolutions by oneDNN for x86 CPUs, where the extra `native` is installed.

`onednn.cc` calls oneDNN, `build.py` compiles it, `library.py` loads it and registers its functions
with JAX. `models/native_convolution.py` calls them by the names below.
"""

# Names of the C++ functions, and of the FFI targets that they are registered as.
FORWARD = "jaxdrive_convolution_forward"
INPUT_GRADIENT = "jaxdrive_convolution_input_gradient"
KERNEL_GRADIENT = "jaxdrive_convolution_kernel_gradient"
