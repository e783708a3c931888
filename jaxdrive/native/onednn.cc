// Convolutions of images by oneDNN, as targets of XLA's foreign function interface (FFI).
//
// Images are [n, height, width, channels], kernels [height, width, inputs, outputs], all float32.
// Every function takes a stride, for rows and columns, and the zeros to pad above, below, left and
// right. An error in here becomes an error of the JAX program that called; it never ends the
// process.

#include <array>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Array = ffi::BufferR4<ffi::F32>;
using Result = ffi::ResultBufferR4<ffi::F32>;
using Layout = dnnl::memory::format_tag;
using Shape = std::array<int64_t, 4>;

enum class Kind { kForward, kInputGradient, kKernelGradient };

struct Window {
  int64_t stride, above, below, left, right;
};

struct Geometry {
  Shape images, kernel, output;
  Window window;
};

struct Convolution {
  dnnl::primitive primitive;
  // The three arrays as XLA lays them out.
  dnnl::memory::desc images, kernel, output;
  // Set where oneDNN wants the kernel in a layout of its own.
  bool packs_kernel = false;
  dnnl::memory packed;
  dnnl::reorder reorder;
};

// Held while a convolution is looked up and while it runs: convolutions share their packed kernels
// and oneDNN's temporary memory, and one alone keeps all cores busy.
std::mutex mutex;

dnnl::engine& Engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc Describe(dnnl::memory::dims sizes, Layout layout) {
  return {std::move(sizes), dnnl::memory::data_type::f32, layout};
}

// oneDNN names sizes in the order n, channels, height, width, whatever the layout.
dnnl::memory::desc DescribeImages(const Shape& s) {
  return Describe({s[0], s[3], s[1], s[2]}, Layout::nhwc);
}

dnnl::memory::desc DescribeKernel(const Shape& s, Layout layout) {
  return Describe({s[3], s[2], s[0], s[1]}, layout);
}

void Check(const Geometry& g) {
  const Window& w = g.window;
  if (w.stride < 1) throw std::invalid_argument("the stride has to be at least 1");
  if (w.above < 0 || w.below < 0 || w.left < 0 || w.right < 0)
    throw std::invalid_argument("padding must not be negative");
  for (const Shape* shape : {&g.images, &g.kernel, &g.output})
    for (int64_t size : *shape)
      if (size < 1) throw std::invalid_argument("an array is empty");
  const int64_t rows = g.images[1] + w.above + w.below - g.kernel[0];
  const int64_t columns = g.images[2] + w.left + w.right - g.kernel[1];
  const Shape expected = {g.images[0], rows / w.stride + 1, columns / w.stride + 1, g.kernel[3]};
  if (rows < 0 || columns < 0 || g.output != expected || g.images[3] != g.kernel[2])
    throw std::invalid_argument("the shapes of images, kernel and output do not belong together");
}

Convolution Make(Kind kind, const Geometry& g) {
  Convolution made;
  made.images = DescribeImages(g.images);
  made.kernel = DescribeKernel(g.kernel, Layout::hwio);
  made.output = DescribeImages(g.output);
  const auto any = DescribeKernel(g.kernel, Layout::any);
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const Window& w = g.window;
  const dnnl::memory::dims strides = {w.stride, w.stride};
  const dnnl::memory::dims before = {w.above, w.left}, after = {w.below, w.right};
  const dnnl::convolution_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, algorithm, made.images, any, made.output,
      strides, before, after);
  dnnl::memory::desc wanted;
  if (kind == Kind::kForward) {
    wanted = forward.weights_desc();
    made.primitive = dnnl::convolution_forward(forward);
  } else if (kind == Kind::kInputGradient) {
    const dnnl::convolution_backward_data::primitive_desc backward(
        Engine(), algorithm, made.images, any, made.output, strides, before, after, forward);
    wanted = backward.weights_desc();
    made.primitive = dnnl::convolution_backward_data(backward);
  } else {
    const dnnl::convolution_backward_weights::primitive_desc backward(
        Engine(), algorithm, made.images, any, made.output, strides, before, after, forward);
    wanted = backward.diff_weights_desc();
    made.primitive = dnnl::convolution_backward_weights(backward);
  }
  if (wanted != made.kernel) {
    made.packs_kernel = true;
    made.packed = dnnl::memory(wanted, Engine());
    const dnnl::memory plain(made.kernel, Engine(), nullptr);
    made.reorder = kind == Kind::kKernelGradient ? dnnl::reorder(made.packed, plain)
                                                 : dnnl::reorder(plain, made.packed);
  }
  return made;
}

// Making a convolution compiles machine code, so each is kept: a program has few of them.
Convolution& Get(Kind kind, const Geometry& g) {
  using Key = std::pair<std::pair<Kind, std::array<int64_t, 5>>, std::array<Shape, 3>>;
  static std::map<Key, Convolution> kept;
  const Window& w = g.window;
  const Key key = {{kind, {w.stride, w.above, w.below, w.left, w.right}},
                   {g.images, g.kernel, g.output}};
  auto found = kept.find(key);
  if (found == kept.end()) {
    Check(g);
    found = kept.emplace(key, Make(kind, g)).first;
  }
  return found->second;
}

void Run(Kind kind, const Geometry& g, float* images, float* kernel, float* output) {
  const std::lock_guard<std::mutex> lock(mutex);
  Convolution& convolution = Get(kind, g);
  dnnl::stream stream(Engine());
  const dnnl::memory x(convolution.images, Engine(), images);
  const dnnl::memory plain(convolution.kernel, Engine(), kernel);
  const dnnl::memory y(convolution.output, Engine(), output);
  const dnnl::memory& weights = convolution.packs_kernel ? convolution.packed : plain;
  if (kind == Kind::kKernelGradient) {
    convolution.primitive.execute(
        stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, y}});
    if (convolution.packs_kernel)
      convolution.reorder.execute(stream, {{DNNL_ARG_FROM, weights}, {DNNL_ARG_TO, plain}});
  } else {
    if (convolution.packs_kernel)
      convolution.reorder.execute(stream, {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, weights}});
    const bool forward = kind == Kind::kForward;
    convolution.primitive.execute(stream, {{forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, x},
                                           {DNNL_ARG_WEIGHTS, weights},
                                           {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, y}});
  }
  stream.wait();
}

Shape ShapeOf(const Array& array) {
  const auto sizes = array.dimensions();
  return {sizes[0], sizes[1], sizes[2], sizes[3]};
}

ffi::Error Call(Kind kind, Array images, Array kernel, Array output, const Window& window) {
  try {
    const Geometry geometry = {ShapeOf(images), ShapeOf(kernel), ShapeOf(output), window};
    Run(kind, geometry, images.typed_data(), kernel.typed_data(), output.typed_data());
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("convolution by oneDNN: ") + error.what());
  } catch (...) {
    return ffi::Error::Internal("convolution by oneDNN: unknown error");
  }
}

ffi::Error Forward(Array images, Array kernel, Result output, int64_t stride, int64_t above,
                   int64_t below, int64_t left, int64_t right) {
  return Call(Kind::kForward, images, kernel, *output, {stride, above, below, left, right});
}

ffi::Error InputGradient(Array kernel, Array gradient, Result images, int64_t stride,
                         int64_t above, int64_t below, int64_t left, int64_t right) {
  return Call(Kind::kInputGradient, *images, kernel, gradient,
              {stride, above, below, left, right});
}

ffi::Error KernelGradient(Array images, Array gradient, Result kernel, int64_t stride,
                          int64_t above, int64_t below, int64_t left, int64_t right) {
  return Call(Kind::kKernelGradient, images, *kernel, gradient,
              {stride, above, below, left, right});
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>()
      .Attr<int64_t>("stride")
      .Attr<int64_t>("above")
      .Attr<int64_t>("below")
      .Attr<int64_t>("left")
      .Attr<int64_t>("right");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdrive_convolution_forward, Forward, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdrive_convolution_input_gradient, InputGradient, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxdrive_convolution_kernel_gradient, KernelGradient, Binding());
