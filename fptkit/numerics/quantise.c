/* CPU kernels around 8-bit products: rows of bfloat16 numbers become integers, and sums of products become bfloat16.

   fptkit/numerics/loops.py loads them; the products themselves are torch's. As in loops.c, bfloat16 numbers are stored as
   uint16_t, arithmetic is in float, buffers are contiguous, and inner loops are written so that compilers vectorise
   them. Source: Dettmers et al. 2022, arXiv 2208.07339 (a scale for each row of inputs and each output). */

#include <math.h>
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

/* A row times kept becomes integers; returns its scale. */
ALWAYS float quantise_row(const half *restrict x, const float *restrict kept, int8_t *restrict q, int64_t width,
                          int32_t largest) {
    float most = of_bits(largest), by = most > 0 ? LEVELS / most : 0;
    if (kept)
        for (int64_t i = 0; i < width; i++) q[i] = rounded(widen(x[i]) * kept[i] * by);
    else
        for (int64_t i = 0; i < width; i++) q[i] = rounded(widen(x[i]) * by);
    return most / LEVELS;
}

/* inputs (rows, width), each times factors (width), or as they are if factors is NULL; outputs: integers (rows, width)
   and scales (rows), whose products are the inputs. */
void quantise(const half *restrict inputs, const float *restrict factors, int8_t *restrict integers,
              float *restrict scales, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const half *x = inputs + row * width;
        int32_t largest = 0;
        for (int64_t i = 0; i < width; i++) {
            int32_t size = size_bits(factors ? widen(x[i]) * factors[i] : widen(x[i]));
            largest = size > largest ? size : largest;
        }
        scales[row] = quantise_row(x, factors, integers + row * width, width, largest);
    }
}

/* As quantise, with kept (width), 0 in columns that are left out and else 1, or NULL, for factors; outlying (width):
   1 in columns where a number is more than ratio times the root mean square of its row, else unchanged. */
void quantise_apart(const half *restrict inputs, const float *restrict kept, int8_t *restrict integers,
                    float *restrict scales, int8_t *restrict outlying, int64_t rows, int64_t width, float ratio) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const half *x = inputs + row * width;
        int32_t largest = 0, largest_kept = 0;
        float squares = 0;
        for (int64_t i = 0; i < width; i++) {
            float number = widen(x[i]);
            int32_t size = size_bits(number), size_kept = kept ? size_bits(number * kept[i]) : size;
            largest = size > largest ? size : largest;
            largest_kept = size_kept > largest_kept ? size_kept : largest_kept;
            squares += number * number;
        }
        scales[row] = quantise_row(x, kept, integers + row * width, width, largest_kept);
        float limit = ratio * sqrtf(squares / width);
        if (of_bits(largest) > limit)
            for (int64_t i = 0; i < width; i++)
                if (fabsf(widen(x[i])) > limit) {
#pragma omp atomic write
                    outlying[i] = 1;
                }
    }
}

/* sums (rows, width) of products, times scales (rows) and factors (width), plus bias (width), plus the product of apart
   (rows, few) and weights (few, width); factors, bias, apart and weights may be NULL. */
void dequantise(const int32_t *restrict sums, const float *restrict scales, const float *restrict factors,
                const float *restrict bias, const float *restrict apart, const float *restrict weights,
                half *restrict outputs, int64_t rows, int64_t width, int64_t few) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t start = 0; start < width; start += TILE) {
            float numbers[TILE];
            const int32_t *s = sums + row * width + start;
            half *y = outputs + row * width + start;
            const float *f = factors ? factors + start : NULL, *b = bias ? bias + start : NULL;
            int64_t here = width - start < TILE ? width - start : TILE;
            float by = scales[row];
            if (f)
                for (int64_t i = 0; i < here; i++) numbers[i] = (float)s[i] * by * f[i];
            else
                for (int64_t i = 0; i < here; i++) numbers[i] = (float)s[i] * by;
            if (b)
                for (int64_t i = 0; i < here; i++) numbers[i] += b[i];
            for (int64_t column = 0; column < few; column++) {
                const float *w = weights + column * width + start;
                float times = apart[row * few + column];
                for (int64_t i = 0; i < here; i++) numbers[i] += times * w[i];
            }
            for (int64_t i = 0; i < here; i++) y[i] = narrow(numbers[i]);
        }
}
