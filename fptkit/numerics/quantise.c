/* CPU kernels around 8-bit products: rows of bfloat16 numbers become integers, and sums of products become bfloat16.

   fptkit/numerics/loops.py loads them; the products themselves are torch's. As in loops.c, bfloat16 numbers are stored as
   uint16_t, arithmetic is in float, buffers are contiguous, and inner loops are written so that compilers vectorise
   them. Source: Dettmers et al. 2022, arXiv 2208.07339 (a scale for each row of inputs and each output). */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t half;

#define ALWAYS static inline __attribute__((always_inline))
#define LEVELS 127.0f /* integers on each side of 0 */
#define TILE 512       /* numbers of a row that are computed together */

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

/* The bits of a number without its sign: they order numbers by size, and compilers vectorise the maximum of integers. */
ALWAYS int32_t size_bits(float number) {
    int32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits & 0x7fffffff;
}
ALWAYS float of_bits(int32_t bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Round to the nearest integer, ties to even: the sum with 1.5 times 2^23 has no room for a fraction. */
ALWAYS int8_t rounded(float number) {
    float shifted = number + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int8_t)bits;
}

/* A row without larger numbers is taken for 0: its factor would not be finite. */
#define SMALLEST 1e-30f
/* No number below this is left out of a row: the squares of smaller ones are 0. */
#define LOWEST_LIMIT 1e-15f

/* The factor that turns a row into integers, given the bits of its largest number. */
ALWAYS float factor_of(int32_t largest) {
    float most = of_bits(largest);
    return most > SMALLEST ? LEVELS / most : 0;
}

/* inputs (rows, width), each times factors (width); outputs: integers (rows, width) and scales (rows), whose products
   are the inputs times factors. */
void quantise(const half *restrict inputs, const float *restrict factors, int8_t *restrict integers,
              float *restrict scales, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const half *x = inputs + row * width;
        int8_t *q = integers + row * width;
        int32_t largest = 0;
        for (int64_t i = 0; i < width; i++) {
            int32_t size = size_bits(widen(x[i]) * factors[i]);
            largest = size > largest ? size : largest;
        }
        float by = factor_of(largest);
        for (int64_t i = 0; i < width; i++) q[i] = rounded(widen(x[i]) * factors[i] * by);
        scales[row] = of_bits(largest) / LEVELS;
    }
}

/* The largest number of a row that is not above a limit, as bits. */
ALWAYS int32_t largest_below(const half *restrict x, int64_t width, float limit) {
    int32_t largest = 0;
    for (int64_t i = 0; i < width; i++) {
        int32_t size = of_bits(size_bits(widen(x[i]))) > limit ? 0 : size_bits(widen(x[i]));
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* inputs (rows, width); outputs: integers (rows, width) and scales (rows) as above, where a number above its row's
   limit (rows), ratio times the root mean square, becomes 0; marks (width): 1 in columns with such numbers, else
   unchanged. */
void quantise_apart(const half *restrict inputs, int8_t *restrict integers, float *restrict scales,
                    float *restrict limits, int8_t *restrict marks, int64_t rows, int64_t width, float ratio) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const half *x = inputs + row * width;
        int8_t *q = integers + row * width;
        int32_t largest = 0;
        float squares = 0;
        for (int64_t i = 0; i < width; i++) {
            float number = widen(x[i]);
            int32_t size = size_bits(number);
            largest = size > largest ? size : largest;
            squares += number * number;
        }
        float limit = ratio * sqrtf(squares / width);
        limit = limits[row] = limit < LOWEST_LIMIT ? LOWEST_LIMIT : limit;
        bool apart = of_bits(largest) > limit;
        if (apart) largest = largest_below(x, width, limit);
        float by = factor_of(largest);
        scales[row] = of_bits(largest) / LEVELS;
        for (int64_t i = 0; i < width; i++) q[i] = rounded(widen(x[i]) * by);
        for (int64_t i = 0; apart && i < width; i++)
            if (of_bits(size_bits(widen(x[i]))) > limit) {
                q[i] = 0;
#pragma omp atomic write
                marks[i] = 1;
            }
    }
}

/* A row in one pass; factors and bias may be NULL. */
ALWAYS void row_of(const int32_t *restrict sums, float by, const float *restrict factors, const float *restrict bias,
                   half *restrict outputs, int64_t width) {
    for (int64_t i = 0; i < width; i++) {
        float number = (float)sums[i] * by;
        number = factors ? number * factors[i] : number;
        outputs[i] = narrow(bias ? number + bias[i] : number);
    }
}

/* A row to which the product of apart (few) and weights (few, width) is added, before the factors. */
ALWAYS void row_with(const int32_t *restrict sums, float by, const float *restrict factors, const float *restrict bias,
                     const float *restrict apart, const int8_t *restrict weights, half *restrict outputs,
                     int64_t width, int64_t few) {
    for (int64_t start = 0; start < width; start += TILE) {
        float numbers[TILE];
        int64_t here = width - start < TILE ? width - start : TILE;
        for (int64_t i = 0; i < here; i++) numbers[i] = (float)sums[start + i] * by;
        for (int64_t column = 0; column < few; column++) {
            const int8_t *w = weights + column * width + start;
            float times = apart[column];
            if (times != 0) /* else another row's column */
                for (int64_t i = 0; i < here; i++) numbers[i] += times * (float)w[i];
        }
        for (int64_t i = 0; i < here; i++) {
            float number = factors ? numbers[i] * factors[start + i] : numbers[i];
            outputs[start + i] = narrow(bias ? number + bias[start + i] : number);
        }
    }
}

ALWAYS bool any(const float *restrict numbers, int64_t count) {
    bool found = false;
    for (int64_t i = 0; i < count; i++) found |= numbers[i] != 0;
    return found;
}

/* (sums (rows, width) times scales (rows), plus the product of apart (rows, few) and weights (few, width)) times factors
   (width), plus bias (width); apart, weights, factors and bias may be NULL. How a row is computed depends on its own
   numbers only, so that its rounding does. */
void dequantise(const int32_t *restrict sums, const float *restrict scales, const float *restrict factors,
                const float *restrict bias, const float *restrict apart, const int8_t *restrict weights,
                half *restrict outputs, int64_t rows, int64_t width, int64_t few) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const int32_t *s = sums + row * width;
        half *y = outputs + row * width;
        float by = scales[row];
        if (any(apart + row * few, few))
            row_with(s, by, factors, bias, apart + row * few, weights, y, width, few);
        else if (factors && bias)
            row_of(s, by, factors, bias, y, width);
        else if (factors)
            row_of(s, by, factors, NULL, y, width);
        else if (bias)
            row_of(s, by, NULL, bias, y, width);
        else
            row_of(s, by, NULL, NULL, y, width);
    }
}
