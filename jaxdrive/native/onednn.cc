// Convolutions of images by oneDNN, as targets of XLA's foreign function interface (FFI).
//
// Images are [n, height, width, channels], kernels [height, width, inputs, outputs], all float32.
// Every function takes a stride, for rows and columns, and the zeros to pad above, below, left and
// right. The images of a batch are divided among XLA's own threads; oneDNN starts none. An error in
// here becomes an error of the JAX program that called; it never ends the process.

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

// Of the OpenMP library that oneDNN loads; not every compiler has its header.
extern "C" int omp_get_max_threads(void);
extern "C" void omp_set_num_threads(int);

namespace {

namespace ffi = xla::ffi;
using Array = ffi::BufferR4<ffi::F32>;
using Result = ffi::ResultBufferR4<ffi::F32>;
using Layout = dnnl::memory::format_tag;
using Shape = std::array<int64_t, 4>;

enum class Kind { kForward, kInputGradient, kKernelGradient };

struct Geometry {
  Shape images, kernel, output;
  int64_t stride, above, below, left, right;

  bool operator<(const Geometry& other) const { return Tuple() < other.Tuple(); }
  std::tuple<Shape, Shape, Shape, std::array<int64_t, 5>> Tuple() const {
    return {images, kernel, output, {stride, above, below, left, right}};
  }
};

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
  if (g.stride < 1) throw std::invalid_argument("the stride has to be at least 1");
  if (std::min({g.above, g.below, g.left, g.right}) < 0)
    throw std::invalid_argument("padding must not be negative");
  for (const Shape* shape : {&g.images, &g.kernel, &g.output})
    if (*std::min_element(shape->begin(), shape->end()) < 1)
      throw std::invalid_argument("an array is empty");
  const int64_t rows = g.images[1] + g.above + g.below - g.kernel[0];
  const int64_t columns = g.images[2] + g.left + g.right - g.kernel[1];
  const Shape expected = {g.images[0], rows / g.stride + 1, columns / g.stride + 1, g.kernel[3]};
  if (rows < 0 || columns < 0 || g.output != expected || g.images[3] != g.kernel[2])
    throw std::invalid_argument("the shapes of images, kernel and output do not belong together");
}

// A oneDNN operation with the temporary memory that it needs.
class Operation {
 public:
  Operation() = default;
  template <typename Primitive, typename Description>
  static Operation Make(const Description& description) {
    Operation made;
    made.primitive_ = Primitive(description);
    made.scratch_ = dnnl::memory(description.scratchpad_desc(), Engine());
    return made;
  }

  void Run(dnnl::stream& stream, std::unordered_map<int, dnnl::memory> arguments) const {
    arguments.emplace(DNNL_ARG_SCRATCHPAD, scratch_);
    primitive_.execute(stream, arguments);
  }

 private:
  dnnl::primitive primitive_;
  dnnl::memory scratch_;
};

// One of the three computations of a convolution, for arrays of one shape. It has memory of its
// own, so only one thread at a time can run it.
class Convolution {
 public:
  Convolution(Kind kind, const Geometry& g)
      : kind_(kind),
        images_(DescribeImages(g.images)),
        kernel_(DescribeKernel(g.kernel, Layout::hwio)),
        output_(DescribeImages(g.output)) {
    const auto any = DescribeKernel(g.kernel, Layout::any);
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const dnnl::memory::dims strides = {g.stride, g.stride};
    const dnnl::memory::dims before = {g.above, g.left}, after = {g.below, g.right};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::convolution_forward::primitive_desc forward(
        Engine(), dnnl::prop_kind::forward_training, algorithm, images_, any, output_, strides,
        before, after, attributes);
    dnnl::memory::desc wanted;
    if (kind == Kind::kForward) {
      wanted = forward.weights_desc();
      operation_ = Operation::Make<dnnl::convolution_forward>(forward);
    } else if (kind == Kind::kInputGradient) {
      const dnnl::convolution_backward_data::primitive_desc backward(
          Engine(), algorithm, images_, any, output_, strides, before, after, forward, attributes);
      wanted = backward.weights_desc();
      operation_ = Operation::Make<dnnl::convolution_backward_data>(backward);
    } else {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          Engine(), algorithm, images_, any, output_, strides, before, after, forward, attributes);
      wanted = backward.diff_weights_desc();
      operation_ = Operation::Make<dnnl::convolution_backward_weights>(backward);
    }
    // oneDNN may want the kernel in a layout of its own.
    packs_kernel_ = wanted != kernel_;
    if (packs_kernel_) {
      packed_ = dnnl::memory(wanted, Engine());
      const bool unpacks = kind == Kind::kKernelGradient;
      const dnnl::reorder::primitive_desc reorder(Engine(), unpacks ? wanted : kernel_, Engine(),
                                                  unpacks ? kernel_ : wanted, attributes);
      reorder_ = Operation::Make<dnnl::reorder>(reorder);
    }
  }

  void Run(float* images, float* kernel, float* output) const {
    dnnl::stream stream(Engine());
    const dnnl::memory x(images_, Engine(), images), y(output_, Engine(), output);
    const dnnl::memory plain(kernel_, Engine(), kernel);
    const dnnl::memory& weights = packs_kernel_ ? packed_ : plain;
    if (packs_kernel_ && kind_ != Kind::kKernelGradient)
      reorder_.Run(stream, {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, weights}});
    if (kind_ == Kind::kForward)
      operation_.Run(stream,
                     {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, y}});
    else if (kind_ == Kind::kInputGradient)
      operation_.Run(
          stream, {{DNNL_ARG_DIFF_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, y}});
    else
      operation_.Run(
          stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, y}});
    if (packs_kernel_ && kind_ == Kind::kKernelGradient)
      reorder_.Run(stream, {{DNNL_ARG_FROM, weights}, {DNNL_ARG_TO, plain}});
    stream.wait();
  }

 private:
  Kind kind_;
  dnnl::memory::desc images_, kernel_, output_;
  Operation operation_, reorder_;
  bool packs_kernel_;
  dnnl::memory packed_;
};

// Convolutions that no thread runs now. To make one, oneDNN generates machine code, so each is kept
// for the next call; a program has few of them.
class Idle {
 public:
  std::unique_ptr<Convolution> Take(Kind kind, const Geometry& g) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto& kept = kept_[{kind, g}];
      if (!kept.empty()) {
        auto convolution = std::move(kept.back());
        kept.pop_back();
        return convolution;
      }
    }
    return std::make_unique<Convolution>(kind, g);
  }

  void GiveBack(Kind kind, const Geometry& g, std::unique_ptr<Convolution> convolution) {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_[{kind, g}].push_back(std::move(convolution));
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<Kind, Geometry>, std::vector<std::unique_ptr<Convolution>>> kept_;
};

// While it exists, OpenMP uses the calling thread alone for what this thread asks of it.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  const int before_;
};

void RunOnThisThread(Kind kind, const Geometry& g, float* images, float* kernel, float* output) {
  // Never destroyed: at the end of the process other threads may still be running.
  static Idle& idle = *new Idle;
  const OneThread one_thread;
  auto convolution = idle.Take(kind, g);
  convolution->Run(images, kernel, output);
  idle.GiveBack(kind, g, std::move(convolution));
}

// The parts of some work that threads take one after the other.
struct Parts {
  const std::function<void(int64_t)> run;
  const int64_t count;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::condition_variable all_done;
  int64_t done = 0;
  std::exception_ptr error;

  Parts(std::function<void(int64_t)> run, int64_t count) : run(std::move(run)), count(count) {}

  void Work() {
    for (int64_t part = next++; part < count; part = next++) {
      std::exception_ptr thrown;
      try {
        run(part);
      } catch (...) {
        thrown = std::current_exception();
      }
      const std::lock_guard<std::mutex> lock(mutex);
      if (thrown) error = thrown;
      if (++done == count) all_done.notify_all();
    }
  }
};

// Calls run(0) ... run(count - 1), on this thread and on those of the pool that are free. This
// thread only waits for parts that another one is running, so a busy pool is no deadlock.
void InParallel(ffi::ThreadPool& pool, int64_t count, std::function<void(int64_t)> run) {
  const auto parts = std::make_shared<Parts>(std::move(run), count);
  for (int64_t other = 1; other < count; ++other) pool.Schedule([parts] { parts->Work(); });
  parts->Work();
  std::unique_lock<std::mutex> lock(parts->mutex);
  parts->all_done.wait(lock, [&] { return parts->done == parts->count; });
  if (parts->error) std::rethrow_exception(parts->error);
}

int64_t SizeOf(const Shape& shape) { return shape[0] * shape[1] * shape[2] * shape[3]; }

void Run(ffi::ThreadPool& pool, Kind kind, const Geometry& g, float* images, float* kernel,
         float* output) {
  Check(g);
  const int64_t n = g.images[0];
  const int64_t count = std::clamp<int64_t>(pool.num_threads(), 1, n);
  const int64_t image_size = SizeOf(g.images) / n, output_size = SizeOf(g.output) / n;
  const int64_t kernel_size = SizeOf(g.kernel);
  // The kernel's gradient is the sum of those of all parts; the first one goes to its place.
  const int64_t sums = kind == Kind::kKernelGradient ? count - 1 : 0;
  const std::unique_ptr<float[]> partial(new float[sums * kernel_size]);
  InParallel(pool, count, [&](int64_t part) {
    const int64_t first = n * part / count, end = n * (part + 1) / count;
    Geometry own = g;
    own.images[0] = own.output[0] = end - first;
    const bool apart = sums && part;
    RunOnThisThread(kind, own, images + first * image_size,
                    apart ? partial.get() + (part - 1) * kernel_size : kernel,
                    output + first * output_size);
  });
  for (int64_t sum = 0; sum < sums; ++sum)
    for (int64_t i = 0; i < kernel_size; ++i) kernel[i] += partial[sum * kernel_size + i];
}

Shape ShapeOf(const Array& array) {
  const auto sizes = array.dimensions();
  return {sizes[0], sizes[1], sizes[2], sizes[3]};
}

ffi::Error Call(ffi::ThreadPool& pool, Kind kind, Array images, Array kernel, Array output,
                const std::array<int64_t, 5>& window) {
  try {
    const auto [stride, above, below, left, right] = window;
    const Geometry geometry = {ShapeOf(images), ShapeOf(kernel), ShapeOf(output), stride,
                               above,           below,           left,            right};
    Run(pool, kind, geometry, images.typed_data(), kernel.typed_data(), output.typed_data());
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("convolution by oneDNN: ") + error.what());
  } catch (...) {
    return ffi::Error::Internal("convolution by oneDNN: unknown error");
  }
}

ffi::Error Forward(ffi::ThreadPool pool, Array images, Array kernel, Result output, int64_t stride,
                   int64_t above, int64_t below, int64_t left, int64_t right) {
  return Call(pool, Kind::kForward, images, kernel, *output, {stride, above, below, left, right});
}

ffi::Error InputGradient(ffi::ThreadPool pool, Array kernel, Array gradient, Result images,
                         int64_t stride, int64_t above, int64_t below, int64_t left,
                         int64_t right) {
  return Call(pool, Kind::kInputGradient, *images, kernel, gradient,
              {stride, above, below, left, right});
}

ffi::Error KernelGradient(ffi::ThreadPool pool, Array images, Array gradient, Result kernel,
                          int64_t stride, int64_t above, int64_t below, int64_t left,
                          int64_t right) {
  return Call(pool, Kind::kKernelGradient, images, *kernel, gradient,
              {stride, above, below, left, right});
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
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
