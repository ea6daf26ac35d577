// The recurrence of one layer of the layer-norm LSTM, forward and backward, in float32.
//
// Why not a loop over torch operators: a step of 16 examples is about a millisecond of work in a dozen operators, and
// in every operator the threads wait for each other. Examples are independent, so here each thread runs some examples
// through all time steps without waiting. Compiled on first use by native.py; recurrence.py has the formulas (Ba, Kiros
// and Hinton 2016, equations 20 to 22) and the same computation in torch operators.
//
// Layout: batch first. gates (B, T, 4H) in the order input, forget, output, candidate; hidden and cell (B, T, H).
// Weights are in panels (columns / 32, inner, 32), so that each weight is read once per step, in order; in bfloat16
// (columns / 32, inner / 2, 32, 2), with two neighbours of the inner axis next to each other. In bfloat16 the rows are
// rounded to bfloat16 for the product, as under autocast. All sums are float32.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kPanel = 32;
// Bytes of a vector register, and examples with sums in registers at the same time. Vectors wider than those of the CPU
// would go through memory, 30 times slower.
#if defined(__AVX512F__)
constexpr int kBytes = 64, kRows = 8;
#elif defined(__AVX__)
constexpr int kBytes = 32, kRows = 2;
#elif defined(__aarch64__)
constexpr int kBytes = 16, kRows = 3;
#else
constexpr int kBytes = 16, kRows = 1;
#endif
constexpr int kParts = kPanel * 4 / kBytes;  // vectors of one line of a panel
constexpr int64_t kChunk = 128;    // products in a partial sum: one long sum would have larger rounding errors
constexpr int64_t kLeastRows = 4;  // rows per thread: each thread reads all weights, so fewer would be limited by memory

typedef float Lanes __attribute__((vector_size(kBytes)));
typedef uint32_t LaneBits __attribute__((vector_size(kBytes)));

// An operand of a multiplication is a float, or two neighbouring bfloat16 in one word, the first in its lower half.
typedef uint32_t Pair;

template <typename Vector>
struct Line {
  Vector parts[kParts];
};
typedef Line<Lanes> FloatLine;
typedef Line<LaneBits> PairLine;

inline void add_product(Lanes (&sums)[kParts], float value, const FloatLine& weights) {
#pragma GCC unroll 8
  for (int part = 0; part < kParts; ++part) sums[part] += value * weights.parts[part];
}

#if defined(__AVX512BF16__) && defined(__AVX512F__)

inline void add_product(Lanes (&sums)[kParts], Pair value, const PairLine& weights) {
  const __m512bh both = (__m512bh)_mm512_set1_epi32(static_cast<int>(value));
#pragma GCC unroll 8
  for (int part = 0; part < kParts; ++part)
    sums[part] = (Lanes)_mm512_dpbf16_ps((__m512)sums[part], both, (__m512bh)weights.parts[part]);
}

#else

inline void add_product(Lanes (&sums)[kParts], Pair value, const PairLine& weights) {
  const Pair low_bits = value << 16, high_bits = value & 0xffff0000u;  // bfloat16 is the upper half of a float
  float low, high;
  std::memcpy(&low, &low_bits, sizeof low);
  std::memcpy(&high, &high_bits, sizeof high);
#pragma GCC unroll 8
  for (int part = 0; part < kParts; ++part) {
    const LaneBits below = weights.parts[part] << 16, above = weights.parts[part] & 0xffff0000u;
    Lanes first, second;
    std::memcpy(&first, &below, sizeof first);
    std::memcpy(&second, &above, sizeof second);
    sums[part] += low * first;
    sums[part] += high * second;
  }
}

#endif

// Vector by vector: if a line is more than two vectors, copying it at once goes through memory.
template <typename Vector, typename Number>
inline Line<Vector> load_line(const Number* from) {
  Line<Vector> line;
#pragma GCC unroll 8
  for (int part = 0; part < kParts; ++part) std::memcpy(&line.parts[part], from + part * kBytes / 4, kBytes);
  return line;
}

inline FloatLine line_of(const float* from) { return load_line<Lanes>(from); }
inline PairLine line_of(const Pair* from) { return load_line<LaneBits>(from); }

// out[row] = start + in[row] x panel, for Rows examples; consecutive rows are a stride apart in memory.
template <int Rows, typename Number>
void multiply_rows(const Number* in, int64_t in_stride, int64_t inner, const Number* panel, const float* start,
                   int64_t columns, float* out, int64_t out_stride) {
  Lanes sums[Rows][kParts] = {};
  for (int64_t begin = 0; begin < inner; begin += kChunk) {
    Lanes some[Rows][kParts] = {};
    for (int64_t k = begin; k < std::min(inner, begin + kChunk); ++k) {
      const auto weights = line_of(panel + k * kPanel);
#pragma GCC unroll 8
      for (int row = 0; row < Rows; ++row) add_product(some[row], in[row * in_stride + k], weights);
    }
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) {
#pragma GCC unroll 8
      for (int part = 0; part < kParts; ++part) sums[row][part] += some[row][part];
    }
  }
  for (int row = 0; row < Rows; ++row) {
    float line[kPanel];
    std::memcpy(line, sums[row], sizeof line);
    for (int64_t column = 0; column < columns; ++column)
      out[row * out_stride + column] = line[column] + (start ? start[column] : 0.0f);
  }
}

template <typename Number>
void multiply_panels(const Number* in, int64_t in_stride, int64_t rows, int64_t inner, const Number* panels,
                     const float* start, int64_t columns, float* out, int64_t out_stride) {
  for (int64_t column = 0; column < columns; column += kPanel) {
    const Number* panel = panels + column * inner;
    const float* begin = start ? start + column : nullptr;
    const int64_t width = std::min(kPanel, columns - column);
    for (int64_t row = 0; row < rows; row += kRows) {
      const Number* from = in + row * in_stride;
      float* to = out + row * out_stride + column;
      switch (std::min<int64_t>(kRows, rows - row)) {
#define FPTKIT_ROWS(count)                                                             \
  case count:                                                                          \
    multiply_rows<count>(from, in_stride, inner, panel, begin, width, to, out_stride); \
    break;
        FPTKIT_ROWS(1) FPTKIT_ROWS(2) FPTKIT_ROWS(3) FPTKIT_ROWS(4)
        FPTKIT_ROWS(5) FPTKIT_ROWS(6) FPTKIT_ROWS(7) FPTKIT_ROWS(8)
#undef FPTKIT_ROWS
      }
    }
  }
}

// Rounded to the nearest bfloat16, ties to even; NaN stays NaN.
inline uint32_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : nearest;
}

// The buffer holds the rows in bfloat16 if the weights are bfloat16.
void multiply(const float* in, int64_t in_stride, int64_t rows, int64_t inner, const float* panels, const float* start,
              int64_t columns, float* out, int64_t out_stride, std::vector<Pair>&) {
  multiply_panels(in, in_stride, rows, inner, panels, start, columns, out, out_stride);
}

void multiply(const float* in, int64_t in_stride, int64_t rows, int64_t inner, const Pair* panels, const float* start,
              int64_t columns, float* out, int64_t out_stride, std::vector<Pair>& buffer) {
  const int64_t pairs = (inner + 1) / 2;
  buffer.assign(rows * pairs, 0);
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = in + row * in_stride;
    Pair* to = buffer.data() + row * pairs;
    for (int64_t pair = 0; pair < inner / 2; ++pair)
      to[pair] = rounded(from[2 * pair]) | rounded(from[2 * pair + 1]) << 16;
    if (inner % 2) to[pairs - 1] = rounded(from[inner - 1]);
  }
  multiply_panels<Pair>(buffer.data(), pairs, rows, pairs, panels, start, columns, out, out_stride);
}

// e^x with a relative error of 1e-6, by the polynomial of Cephes' expf, in operations that compilers vectorise. NaN
// stays NaN: it fails both comparisons.
inline float exponential(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float ratio = x * 1.44269504088896341f;
  const int32_t power = static_cast<int32_t>(ratio + (ratio < 0.0f ? -0.5f : 0.5f));
  const float rest = x - static_cast<float>(power) * 0.693147180559945f;
  float value = 1.9875691500e-4f;
  value = value * rest + 1.3981999507e-3f;
  value = value * rest + 8.3334519073e-3f;
  value = value * rest + 4.1665795894e-2f;
  value = value * rest + 1.6666665459e-1f;
  value = value * rest + 5.0000001201e-1f;
  value = value * rest * rest + rest + 1.0f;
  const int32_t bits = (power + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return value * scale;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

inline float hyperbolic_tangent(float x) {
  const float small = exponential(-2.0f * __builtin_fabsf(x));
  return __builtin_copysignf((1.0f - small) / (1.0f + small), x);
}

struct Moments {
  float mean, scale;  // scale is 1 / sqrt(variance + epsilon)
};

Moments moments(const float* values, int64_t count, float epsilon) {
  float sum = 0.0f, squares = 0.0f;
  for (int64_t j = 0; j < count; ++j) sum += values[j];
  const float mean = sum / count;
  for (int64_t j = 0; j < count; ++j) squares += (values[j] - mean) * (values[j] - mean);
  return {mean, 1.0f / __builtin_sqrtf(squares / count + epsilon)};
}

struct Shape {
  int64_t batch, steps, width;
};

struct Norms {
  const float *scale_recurrent, *shift_recurrent, *scale_cell, *shift_cell;
  float epsilon;
};

void step_forward(const float* input, const float* recurrent, const float* cell_before, int64_t width,
                  const Norms& norms, Moments* kept, float* gates, float* cell, float* hidden) {
  const Moments outer = kept[0] = moments(recurrent, 4 * width, norms.epsilon);
  for (int64_t j = 0; j < 4 * width; ++j) {
    const float normed = (recurrent[j] - outer.mean) * outer.scale;
    gates[j] = input[j] + norms.scale_recurrent[j] * normed + norms.shift_recurrent[j];
  }
  for (int64_t j = 0; j < 3 * width; ++j) gates[j] = sigmoid(gates[j]);
  for (int64_t j = 3 * width; j < 4 * width; ++j) gates[j] = hyperbolic_tangent(gates[j]);
  const float *in = gates, *forget = gates + width, *out = gates + 2 * width, *candidate = gates + 3 * width;
  for (int64_t j = 0; j < width; ++j)
    cell[j] = in[j] * candidate[j] + (cell_before ? forget[j] * cell_before[j] : 0.0f);
  const Moments inner = kept[1] = moments(cell, width, norms.epsilon);
  for (int64_t j = 0; j < width; ++j) {
    const float normed = (cell[j] - inner.mean) * inner.scale;
    hidden[j] = out[j] * hyperbolic_tangent(norms.scale_cell[j] * normed + norms.shift_cell[j]);
  }
}

template <typename Number>
void forward_rows(const Shape& shape, int64_t first, int64_t last, const float* input, const Number* panels,
                  const float* bias, const Norms& norms, float* recurrent, Moments* kept, float* gates, float* cell,
                  float* hidden) {
  const int64_t width = shape.width, steps = shape.steps;
  std::vector<Pair> buffer;
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t at = first * steps + step;
    if (step > 0)
      multiply(hidden + (at - 1) * width, steps * width, last - first, width, panels, bias, 4 * width,
               recurrent + at * 4 * width, steps * 4 * width, buffer);
    for (int64_t row = first; row < last; ++row) {
      const int64_t here = row * steps + step;
      if (step == 0) std::copy(bias, bias + 4 * width, recurrent + here * 4 * width);  // the state is zero
      step_forward(input + here * 4 * width, recurrent + here * 4 * width, step ? cell + (here - 1) * width : nullptr,
                   width, norms, kept + 2 * here, gates + here * 4 * width, cell + here * width, hidden + here * width);
    }
  }
}

// A thread's sums of the norms' gradients: recurrent scale (4H), cell scale (H), cell shift (H). The gradient of the
// recurrent shift is the sum of grad_input.
struct Gathered {
  float *scale_recurrent, *scale_cell, *shift_cell;
};

void step_backward(const float* recurrent, const Moments* kept, const float* gates, const float* cell,
                   const float* cell_before, int64_t width, const Norms& norms, float* grad_hidden, float* grad_cell,
                   float* work, float* grad_input, float* grad_recurrent, const Gathered& gathered) {
  const float *in = gates, *forget = gates + width, *out = gates + 2 * width, *candidate = gates + 3 * width;
  const Moments inner = kept[1], outer = kept[0];
  float mean = 0.0f, along = 0.0f;
#pragma GCC ivdep
  for (int64_t j = 0; j < width; ++j) {
    const float normed = (cell[j] - inner.mean) * inner.scale;
    const float squashed = hyperbolic_tangent(norms.scale_cell[j] * normed + norms.shift_cell[j]);
    const float grad = grad_hidden[j] * out[j] * (1.0f - squashed * squashed);
    grad_input[2 * width + j] = grad_hidden[j] * squashed * out[j] * (1.0f - out[j]);
    gathered.scale_cell[j] += grad * normed;
    gathered.shift_cell[j] += grad;
    work[j] = grad * norms.scale_cell[j];
    mean += work[j];
    along += work[j] * normed;
  }
  mean /= width;
  along /= width;
#pragma GCC ivdep
  for (int64_t j = 0; j < width; ++j) {
    const float normed = (cell[j] - inner.mean) * inner.scale;
    const float grad = grad_cell[j] + inner.scale * (work[j] - mean - normed * along);
    const float before = cell_before ? cell_before[j] : 0.0f;
    grad_input[j] = grad * candidate[j] * in[j] * (1.0f - in[j]);
    grad_input[width + j] = grad * before * forget[j] * (1.0f - forget[j]);
    grad_input[3 * width + j] = grad * in[j] * (1.0f - candidate[j] * candidate[j]);
    grad_cell[j] = grad * forget[j];
  }
  mean = along = 0.0f;
#pragma GCC ivdep
  for (int64_t j = 0; j < 4 * width; ++j) {
    const float normed = (recurrent[j] - outer.mean) * outer.scale;
    gathered.scale_recurrent[j] += grad_input[j] * normed;
    const float grad = grad_input[j] * norms.scale_recurrent[j];
    mean += grad;
    along += grad * normed;
  }
  mean /= 4 * width;
  along /= 4 * width;
#pragma GCC ivdep
  for (int64_t j = 0; j < 4 * width; ++j) {
    const float normed = (recurrent[j] - outer.mean) * outer.scale;
    grad_recurrent[j] = outer.scale * (grad_input[j] * norms.scale_recurrent[j] - mean - normed * along);
  }
}

template <typename Number>
void backward_rows(const Shape& shape, int64_t first, int64_t last, const float* grad_output, const Number* panels,
                   const Norms& norms, const float* recurrent, const Moments* kept, const float* gates,
                   const float* cell, float* grad_input, float* grad_recurrent, const Gathered& gathered) {
  const int64_t width = shape.width, steps = shape.steps, rows = last - first;
  std::vector<float> carried(rows * width, 0.0f), grad_cell(rows * width, 0.0f), work(width);
  std::vector<Pair> buffer;
  for (int64_t step = steps - 1; step >= 0; --step) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t here = row * steps + step;
      float* grad_hidden = carried.data() + (row - first) * width;
      for (int64_t j = 0; j < width; ++j) grad_hidden[j] += grad_output[here * width + j];
      step_backward(recurrent + here * 4 * width, kept + 2 * here, gates + here * 4 * width, cell + here * width,
                    step ? cell + (here - 1) * width : nullptr, width, norms, grad_hidden,
                    grad_cell.data() + (row - first) * width, work.data(), grad_input + here * 4 * width,
                    grad_recurrent + here * 4 * width, gathered);
    }
    if (step > 0)
      multiply(grad_recurrent + (first * steps + step) * 4 * width, steps * 4 * width, rows, 4 * width, panels,
               nullptr, width, carried.data(), width, buffer);
  }
}

template <typename Job>
int64_t share(int64_t batch, int64_t threads, Job job) {
  const int64_t most = std::max<int64_t>(1, batch / kLeastRows);
  const int64_t count = std::max<int64_t>(1, std::min(threads, most));
  std::vector<std::thread> others;
  for (int64_t part = 1; part < count; ++part)
    others.emplace_back([=] { job(part, batch * part / count, batch * (part + 1) / count); });
  job(0, 0, batch / count);
  for (std::thread& other : others) other.join();
  return count;
}

}  // namespace

extern "C" {

// panels are of width x 4 width weights; bfloat16 when `halves`. kept is (B, T, 2, 2).
void fptkit_lstm_forward(int64_t batch, int64_t steps, int64_t width, int64_t threads, int64_t halves, float epsilon,
                         const float* input, const void* panels, const float* bias, const float* scale_recurrent,
                         const float* shift_recurrent, const float* scale_cell, const float* shift_cell,
                         float* recurrent, float* kept, float* gates, float* cell, float* hidden) {
  const Shape shape{batch, steps, width};
  const Norms norms{scale_recurrent, shift_recurrent, scale_cell, shift_cell, epsilon};
  Moments* moments = reinterpret_cast<Moments*>(kept);
  share(batch, threads, [=](int64_t, int64_t first, int64_t last) {
    if (halves)
      forward_rows(shape, first, last, input, static_cast<const Pair*>(panels), bias, norms, recurrent, moments,
                   gates, cell, hidden);
    else
      forward_rows(shape, first, last, input, static_cast<const float*>(panels), bias, norms, recurrent, moments,
                   gates, cell, hidden);
  });
}

// panels are of 4 width x width weights. gathered is (threads, 6 width) of zeros: one line per thread of the gradients
// of recurrent scale, cell scale and cell shift.
void fptkit_lstm_backward(int64_t batch, int64_t steps, int64_t width, int64_t threads, int64_t halves,
                          const float* grad_output, const void* panels, const float* scale_recurrent,
                          const float* scale_cell, const float* shift_cell, const float* recurrent, const float* kept,
                          const float* gates, const float* cell, float* grad_input, float* grad_recurrent,
                          float* gathered) {
  const Shape shape{batch, steps, width};
  const Norms norms{scale_recurrent, nullptr, scale_cell, shift_cell, 0.0f};
  const Moments* moments = reinterpret_cast<const Moments*>(kept);
  share(batch, threads, [=](int64_t part, int64_t first, int64_t last) {
    float* line = gathered + part * 6 * width;
    const Gathered sums{line, line + 4 * width, line + 5 * width};
    if (halves)
      backward_rows(shape, first, last, grad_output, static_cast<const Pair*>(panels), norms, recurrent, moments,
                    gates, cell, grad_input, grad_recurrent, sums);
    else
      backward_rows(shape, first, last, grad_output, static_cast<const float*>(panels), norms, recurrent, moments,
                    gates, cell, grad_input, grad_recurrent, sums);
  });
}

}  // extern "C"
