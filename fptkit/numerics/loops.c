/* CPU kernels for the operations between the matrix products of a training step; fptkit/numerics/loops.py loads them.

   bfloat16 numbers are stored as uint16_t, the upper half of a float; arithmetic is in float. Buffers are contiguous
   and do not overlap, unless one is both input and output. Inner loops are written so that compilers vectorise them:
   without branches, over complete rows or chunks, with sums in any order.

   Sources: Hendrycks and Gimpel 2016, arXiv 1606.08415 (GELU); Ba et al. 2016, arXiv 1607.06450 (layer norm); Salmon et
   al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox). */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t half;

#define ALWAYS static inline __attribute__((always_inline))
#define PIECE 4096       /* numbers per unit of work of a thread, in elementwise loops */
#define CHUNK 2048       /* numbers per chunk of dropout; another value changes the result of a seed */
#define LEVELS 65536     /* a number is kept if a random 16-bit value is less than kept, of LEVELS */
#define BLOCK_ROWS 32    /* rows per partial sum of gradients: fixed, so that sums do not depend on the threads */
#define VECTOR 64        /* rows are padded to a multiple of this in scratch memory, so that loops have no remainder */
#define LOG2_E 1.44269504f

ALWAYS int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
ALWAYS int64_t rounded_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

ALWAYS float widen(half number) {
    uint32_t bits = (uint32_t)number << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* Round to nearest, ties to even. */
ALWAYS half narrow(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (half)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* 2 to the power of a number, clamped to -64..64, with an error of 3e-6. Beyond that, products with the result would be
   subnormal, which CPUs compute a hundred times slower. */
ALWAYS float exp2_of(float exponent) {
    exponent = exponent < -64.0f ? -64.0f : exponent;
    exponent = exponent > 64.0f ? 64.0f : exponent;
    float whole = floorf(exponent + 0.5f), part = exponent - whole;
    float power = 1.3333558e-3f; /* the series of exp(part ln 2), whose terms are (ln 2)^n / n! */
    power = power * part + 9.6181291e-3f;
    power = power * part + 5.5504109e-2f;
    power = power * part + 2.4022651e-1f;
    power = power * part + 6.9314718e-1f;
    power = power * part + 1.0f;
    int32_t bits = ((int32_t)whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

/* Convert a float to an integer with the same order, and back: compilers vectorise the maximum of integers. */
ALWAYS int32_t ordered_bits(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }
ALWAYS int32_t order_of(float number) {
    int32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return ordered_bits(bits);
}
ALWAYS float of_order(int32_t order) {
    int32_t bits = ordered_bits(order);
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Number of threads of a loop. */
int32_t count_threads(void) {
    int32_t count = 0;
#pragma omp parallel reduction(+ : count)
    count += 1;
    return count;
}

/* ---- Tanh approximation of GELU: x times the logistic function of 2 sqrt(2 / pi) (x + 0.044715 x^3) ---- */

#define GELU_CUBIC 0.044715f
#define GELU_SLOPE 1.5957691f
ALWAYS float gelu_share(float x) {
    float share = 1.0f / (1.0f + exp2_of(-GELU_SLOPE * LOG2_E * (x + GELU_CUBIC * x * x * x)));
    return x > -10.0f ? share : 0.0f; /* less than 1e-33 for smaller x */
}

/* inputs, outputs (count). */
void gelu(const half *restrict inputs, half *restrict outputs, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += PIECE)
        for (int64_t i = start; i < smaller(count, start + PIECE); i++) {
            float x = widen(inputs[i]);
            outputs[i] = narrow(x * gelu_share(x));
        }
}

/* grads: gradients of the outputs; inputs; given: gradients of the inputs (count). */
void gelu_backward(const half *restrict grads, const half *restrict inputs, half *restrict given, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += PIECE)
        for (int64_t i = start; i < smaller(count, start + PIECE); i++) {
            float x = widen(inputs[i]), share = gelu_share(x);
            float near = x < -1e4f ? -1e4f : x > 1e4f ? 1e4f : x; /* beyond, the square could be infinite, times 0 */
            float slope = GELU_SLOPE * (1.0f + 3.0f * GELU_CUBIC * near * near);
            given[i] = narrow(widen(grads[i]) * (share + near * share * (1.0f - share) * slope));
        }
}

/* ---- Exact GELU: x times the normal distribution function, whose tail is that of Abramowitz and Stegun 7.1.26 ---- */

ALWAYS float normal_density(float x) { return 0.39894228f * exp2_of(-0.5f * LOG2_E * x * x); }
ALWAYS float normal_share(float x, float density) {
    float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * fabsf(x)), series = 1.061405429f;
    series = series * t - 1.453152027f;
    series = series * t + 1.421413741f;
    series = series * t - 0.284496736f;
    series = series * t + 0.254829592f;
    float tail = 1.2533141f * density * series * t; /* sqrt(pi / 2): the density without its factor, and a half */
    return x < 0.0f ? tail : 1.0f - tail;
}

/* inputs, outputs (count). */
void gelu_exact(const half *restrict inputs, half *restrict outputs, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += PIECE)
        for (int64_t i = start; i < smaller(count, start + PIECE); i++) {
            float x = widen(inputs[i]), near = x < -9.0f ? -9.0f : x > 9.0f ? 9.0f : x;
            float share = normal_share(near, normal_density(near));
            outputs[i] = narrow(x * (x > -9.0f ? share : 0.0f)); /* less than 1e-18 for smaller x */
        }
}

/* As for gelu_backward. */
void gelu_exact_backward(const half *restrict grads, const half *restrict inputs, half *restrict given,
                         int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += PIECE)
        for (int64_t i = start; i < smaller(count, start + PIECE); i++) {
            float x = widen(inputs[i]), near = x < -9.0f ? -9.0f : x > 9.0f ? 9.0f : x;
            float density = normal_density(near);
            given[i] = narrow(widen(grads[i]) * (normal_share(near, density) + near * density));
        }
}

/* ---- Gated feed-forward: gate times its logistic function, times the other map (SwiGLU) ---- */

ALWAYS float logistic(float x) {
    float share = 1.0f / (1.0f + exp2_of(-LOG2_E * x));
    return x > -44.0f ? share : 0.0f; /* less than 1e-19 for smaller x, where exp2_of is clamped */
}

/* gates, others, outputs (count). */
void silu_product(const half *restrict gates, const half *restrict others, half *restrict outputs, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += PIECE)
        for (int64_t i = start; i < smaller(count, start + PIECE); i++) {
            float gate = widen(gates[i]);
            outputs[i] = narrow(gate * logistic(gate) * widen(others[i]));
        }
}

/* grads: gradients of the outputs; outputs: gradients of gates and of others (count). */
void silu_product_backward(const half *restrict grads, const half *restrict gates, const half *restrict others,
                           half *restrict gates_given, half *restrict others_given, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += PIECE)
        for (int64_t i = start; i < smaller(count, start + PIECE); i++) {
            float grad = widen(grads[i]), gate = widen(gates[i]), share = logistic(gate);
            gates_given[i] = narrow(grad * widen(others[i]) * share * (1.0f + gate * (1.0f - share)));
            others_given[i] = narrow(grad * gate * share);
        }
}

/* ---- Layer norm ---- */

/* inputs (rows, width); weight, bias (width); outputs: normed, standard (rows, width); scale (rows), which is
   1 / standard deviation. */
void layer_norm(const float *restrict inputs, const float *restrict weight, const float *restrict bias,
                half *restrict normed, half *restrict standard, float *restrict scale, int64_t rows, int64_t width,
                float epsilon) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *x = inputs + row * width;
        half *y = normed + row * width, *z = standard + row * width;
        float total = 0, squares = 0;
        for (int64_t i = 0; i < width; i++) total += x[i];
        float mean = total / width;
        for (int64_t i = 0; i < width; i++) squares += (x[i] - mean) * (x[i] - mean);
        float by = 1.0f / sqrtf(squares / width + epsilon);
        for (int64_t i = 0; i < width; i++) {
            float standardised = (x[i] - mean) * by;
            z[i] = narrow(standardised);
            y[i] = narrow(standardised * weight[i] + bias[i]);
        }
        scale[row] = by;
    }
}

/* grads: gradients of normed (rows, width); stream: other gradients of the inputs (rows, width); standard, scale and
   weight as above; outputs: given: gradients of the inputs (rows, width); sums: gradients of weight and bias, summed
   over each block of rows (2, blocks, width). */
void layer_norm_backward(const half *restrict grads, const float *restrict stream, const half *restrict standard,
                         const float *restrict scale, const float *restrict weight, float *restrict given,
                         float *restrict sums, int64_t rows, int64_t width) {
    int64_t blocks = rounded_up(rows, BLOCK_ROWS) / BLOCK_ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        float *weight_sum = sums + block * width, *bias_sum = sums + (blocks + block) * width;
        memset(weight_sum, 0, width * sizeof(float));
        memset(bias_sum, 0, width * sizeof(float));
        for (int64_t row = block * BLOCK_ROWS; row < smaller(rows, (block + 1) * BLOCK_ROWS); row++) {
            const half *g = grads + row * width, *z = standard + row * width;
            const float *s = stream + row * width;
            float *out = given + row * width;
            float mean = 0, along = 0, by = scale[row];
            for (int64_t i = 0; i < width; i++) {
                float grad = widen(g[i]), standardised = widen(z[i]);
                bias_sum[i] += grad;
                weight_sum[i] += grad * standardised;
                mean += grad * weight[i];
                along += grad * weight[i] * standardised;
            }
            mean /= width;
            along /= width;
            for (int64_t i = 0; i < width; i++)
                out[i] = s[i] + by * (widen(g[i]) * weight[i] - mean - widen(z[i]) * along);
        }
    }
}

/* ---- RMS norm ---- */

/* As layer_norm, without mean and bias; scale is 1 / root of the mean square. */
void rms_norm(const float *restrict inputs, const float *restrict weight, half *restrict normed,
              half *restrict standard, float *restrict scale, int64_t rows, int64_t width, float epsilon) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const float *x = inputs + row * width;
        half *y = normed + row * width, *z = standard + row * width;
        float squares = 0;
        for (int64_t i = 0; i < width; i++) squares += x[i] * x[i];
        float by = 1.0f / sqrtf(squares / width + epsilon);
        for (int64_t i = 0; i < width; i++) {
            float standardised = x[i] * by;
            z[i] = narrow(standardised);
            y[i] = narrow(standardised * weight[i]);
        }
        scale[row] = by;
    }
}

/* As layer_norm_backward, without other gradients of the inputs; sums: of the weight (blocks, width). */
void rms_norm_backward(const half *restrict grads, const half *restrict standard, const float *restrict scale,
                       const float *restrict weight, float *restrict given, float *restrict sums, int64_t rows,
                       int64_t width) {
    int64_t blocks = rounded_up(rows, BLOCK_ROWS) / BLOCK_ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        float *weight_sum = sums + block * width;
        memset(weight_sum, 0, width * sizeof(float));
        for (int64_t row = block * BLOCK_ROWS; row < smaller(rows, (block + 1) * BLOCK_ROWS); row++) {
            const half *g = grads + row * width, *z = standard + row * width;
            float *out = given + row * width;
            float along = 0, by = scale[row];
            for (int64_t i = 0; i < width; i++) {
                float grad = widen(g[i]), standardised = widen(z[i]);
                weight_sum[i] += grad * standardised;
                along += grad * weight[i] * standardised;
            }
            along /= width;
            for (int64_t i = 0; i < width; i++) out[i] = by * (widen(g[i]) * weight[i] - widen(z[i]) * along);
        }
    }
}

/* ---- Dropout: the mask is generated again in the backward pass, which is faster than storing and reading it ---- */

/* Random 16-bit values for a chunk by Philox-4x32-10, counter (chunk * CHUNK / 8 + i, 0, 0, 0). The four words of each
   i are a quarter of the array apart. */
ALWAYS void draw(uint32_t *restrict words, int64_t chunk, const uint32_t *seed) {
    enum { QUARTER = CHUNK / 8 };
    for (int i = 0; i < QUARTER; i++) {
        uint32_t a = (uint32_t)(chunk * QUARTER) + i, b = 0, c = 0, d = 0, key = seed[0], other_key = seed[1];
        for (int round = 0; round < 10; round++) {
            uint64_t one = (uint64_t)0xD2511F53 * a, two = (uint64_t)0xCD9E8D57 * c;
            a = (uint32_t)(two >> 32) ^ b ^ key;
            c = (uint32_t)(one >> 32) ^ d ^ other_key;
            b = (uint32_t)two;
            d = (uint32_t)one;
            key += 0x9E3779B9;
            other_key += 0xBB67AE85;
        }
        words[i] = a;
        words[i + QUARTER] = b;
        words[i + 2 * QUARTER] = c;
        words[i + 3 * QUARTER] = d;
    }
}

/* For tests: words (chunks, CHUNK / 2). */
void draw_chunks(const uint32_t *seed, uint32_t *restrict words, int64_t chunks) {
    for (int64_t chunk = 0; chunk < chunks; chunk++) draw(words + chunk * CHUNK / 2, chunk, seed);
}

/* stream + dropout(inputs), or dropout(inputs) if stream is NULL. Inputs and outputs are each half or float. */
ALWAYS void drop(const uint32_t *seed, const float *restrict stream, const void *restrict inputs,
                 void *restrict outputs, int64_t count, int32_t kept, bool half_inputs, bool half_outputs) {
    float scale = (float)LEVELS / kept;
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += CHUNK) {
        uint32_t words[CHUNK / 2];
        uint16_t draws[CHUNK];
        draw(words, start / CHUNK, seed);
        memcpy(draws, words, sizeof draws);
        int64_t here = smaller(CHUNK, count - start);
        for (int64_t i = 0; i < here; i++) {
            float number = half_inputs ? widen(((const half *)inputs)[start + i]) : ((const float *)inputs)[start + i];
            float dropped = draws[i] < kept ? number * scale : 0.0f;
            float sum = stream ? stream[start + i] + dropped : dropped;
            if (half_outputs)
                ((half *)outputs)[start + i] = narrow(sum);
            else
                ((float *)outputs)[start + i] = sum;
        }
    }
}

/* seed (2); stream, inputs, outputs (count); a number is kept with probability kept / LEVELS. */
void drop_floats(const uint32_t *seed, const float *inputs, float *outputs, int64_t count, int32_t kept) {
    drop(seed, NULL, inputs, outputs, count, kept, false, false);
}
void drop_to_halves(const uint32_t *seed, const float *inputs, half *outputs, int64_t count, int32_t kept) {
    drop(seed, NULL, inputs, outputs, count, kept, false, true);
}
void drop_halves(const uint32_t *seed, const half *inputs, half *outputs, int64_t count, int32_t kept) {
    drop(seed, NULL, inputs, outputs, count, kept, true, true);
}
void add_dropped_floats(const uint32_t *seed, const float *stream, const float *inputs, float *outputs, int64_t count,
                        int32_t kept) {
    drop(seed, stream, inputs, outputs, count, kept, false, false);
}
void add_dropped_halves(const uint32_t *seed, const float *stream, const half *inputs, float *outputs, int64_t count,
                        int32_t kept) {
    drop(seed, stream, inputs, outputs, count, kept, true, false);
}

/* ---- Softmax of scaled attention scores, in place; causal: row r sees columns 0 to r, the others become 0 ---- */

ALWAYS void softmax_row(half *restrict scores, int64_t columns, int64_t seen, float scale, float *restrict scratch) {
    int64_t padded = rounded_up(seen, VECTOR), wide = smaller(padded, columns);
    for (int64_t i = 0; i < wide; i++) scratch[i] = i < seen ? widen(scores[i]) : -INFINITY;
    for (int64_t i = wide; i < padded; i++) scratch[i] = -INFINITY;
    int32_t order = INT32_MIN;
    for (int64_t i = 0; i < padded; i++) order = order_of(scratch[i]) > order ? order_of(scratch[i]) : order;
    float highest = of_order(order), total = 0;
    for (int64_t i = 0; i < padded; i++) {
        float power = exp2_of((scratch[i] - highest) * scale);
        scratch[i] = power;
        total += power;
    }
    float share = 1.0f / total;
    for (int64_t i = 0; i < wide; i++) scores[i] = i < seen ? narrow(scratch[i] * share) : 0;
    memset(scores + wide, 0, (columns - wide) * sizeof(half));
}

/* scores (matrices, rows, columns) become weights. Returns false if there is no memory for scratch. */
int32_t softmax(half *scores, int64_t matrices, int64_t rows, int64_t columns, float scale, bool causal) {
    bool done = true;
#pragma omp parallel reduction(&& : done)
    {
        float *scratch = malloc(rounded_up(columns, VECTOR) * sizeof(float));
        done = scratch != NULL;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < matrices * rows; row++)
            if (scratch)
                softmax_row(scores + row * columns, columns, causal ? columns - rows + row % rows + 1 : columns, scale * LOG2_E, scratch);
        free(scratch);
    }
    return done;
}

/* grads of dropped, the weights after dropout if any (matrices, rows, columns), become grads of the scores. */
void softmax_backward(half *grads, const half *weights, const half *dropped, int64_t matrices, int64_t rows,
                      int64_t columns, float scale, bool causal) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < matrices * rows; row++) {
        half *g = grads + row * columns;
        const half *w = weights + row * columns, *d = dropped + row * columns;
        int64_t seen = causal ? columns - rows + row % rows + 1 : columns, wide = smaller(rounded_up(seen, VECTOR), columns);
        float along = 0;
        for (int64_t i = 0; i < wide; i++) along += widen(d[i]) * widen(g[i]);
        for (int64_t i = 0; i < wide; i++) g[i] = narrow((widen(d[i]) * widen(g[i]) - widen(w[i]) * along) * scale);
        memset(g + wide, 0, (columns - wide) * sizeof(half));
    }
}
