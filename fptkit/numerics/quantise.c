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

ALWAYS float quantise_row(const half *restrict x, const float *restrict factors, int8_t *restrict q, int64_t width,
                          float *restrict limit, float ratio) {
    int32_t largest = 0;
    float squares = 0;
    for (int64_t i = 0; i < width; i++) {
        float number = factors ? widen(x[i]) * factors[i] : widen(x[i]);
        int32_t size = size_bits(number);
        largest = size > largest ? size : largest;
        squares += number * number;
    }
    float most = of_bits(largest), by = most > 0 ? LEVELS / most : 0;
    for (int64_t i = 0; i < width; i++) q[i] = rounded((factors ? widen(x[i]) * factors[i] : widen(x[i])) * by);
    *limit = ratio * sqrtf(squares / width);
    return most;
}

/* inputs (rows, width), each times factors (width), if they are not NULL; outputs: integers (rows, width) and scales
   (rows), whose products are the inputs; outlying (width): 1 in columns where a number is more than ratio times the root
   mean square of its row, else unchanged. */
void quantise(const half *restrict inputs, const float *restrict factors, int8_t *restrict integers,
              float *restrict scales, int8_t *restrict outlying, int64_t rows, int64_t width, float ratio) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const half *x = inputs + row * width;
        int8_t *q = integers + row * width;
        float limit, most = factors ? quantise_row(x, factors, q, width, &limit, ratio)
                                    : quantise_row(x, NULL, q, width, &limit, ratio);
        scales[row] = most / LEVELS;
        if (most > limit)
            for (int64_t i = 0; i < width; i++)
                if (fabsf(factors ? widen(x[i]) * factors[i] : widen(x[i])) > limit) {
#pragma omp atomic write
                    outlying[i] = 1;
                }
    }
}

/* sums (rows, width) of products, times scales (rows) and factors (width), plus bias (width); factors and bias may be
   NULL. */
void dequantise(const int32_t *restrict sums, const float *restrict scales, const float *restrict factors,
                const float *restrict bias, half *restrict outputs, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const int32_t *s = sums + row * width;
        half *y = outputs + row * width;
        float by = scales[row];
        if (factors && bias)
            for (int64_t i = 0; i < width; i++) y[i] = narrow((float)s[i] * by * factors[i] + bias[i]);
        else if (factors)
            for (int64_t i = 0; i < width; i++) y[i] = narrow((float)s[i] * by * factors[i]);
        else
            for (int64_t i = 0; i < width; i++) y[i] = narrow((float)s[i] * by);
    }
}
