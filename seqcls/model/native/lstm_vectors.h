/* Arithmetic on vectors of one type of numbers: loads and stores, the functions of gates, products with four vectors of weights. */

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAME(mask) __attribute__((vector_size(VECTOR_BYTES)));
#define VECTOR NAME(vector)
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))

/* Read or write the first `count` values of a vector. */
static INLINE VECTOR NAME(load)(const REAL *from, int64_t count) {
    if (count >= LANES) return *(const VECTOR *)from;
    VECTOR value = {0};
    for (int64_t lane = 0; lane < count; lane++) value[lane] = from[lane];
    return value;
}

static INLINE void NAME(store)(REAL *to, VECTOR value, int64_t count) {
    if (count >= LANES)
        *(VECTOR *)to = value;
    else
        for (int64_t lane = 0; lane < count; lane++) to[lane] = value[lane];
}

static INLINE VECTOR NAME(choose)(NAME(mask) mask, VECTOR yes, VECTOR no) {
    return (VECTOR)((mask & (NAME(mask))yes) | (~mask & (NAME(mask))no));
}

/* x limited to -limit..limit; NaN stays. */
static INLINE VECTOR NAME(clamp)(VECTOR x, VECTOR limit) {
#if defined(LESSER) && !EXACT
    return (VECTOR)GREATER(-limit, LESSER(limit, x));
#else
    x = NAME(choose)(x > limit, limit, x);
    return NAME(choose)(x < -limit, -limit, x);
#endif
}

/* tanh x as a fraction, so that several can share one division. For float, this is the fraction of degrees 9 and 8 with the least
   largest error up to 9, where tanh is 1: 2e-8 (found by least squares with Lawson's weights); computed in float, it is within
   4e-7. The denominator lies between 1 and 417. */
static INLINE void NAME(tangent)(VECTOR x, VECTOR *above, VECTOR *below) {
#if EXACT
    for (int64_t lane = 0; lane < LANES; lane++) (*above)[lane] = tanh(x[lane]);
    *below = 1 - (VECTOR){0};
#else
    x = NAME(clamp)(x, 9 - (VECTOR){0});
    const VECTOR y = x * x;
    VECTOR p = 1.33379597e-8f * y + 2.05960173e-5f, q = 7.76941937e-7f * y + 3.28429811e-4f;
    p = p * y + 3.49475450e-3f, q = q * y + 2.58737775e-2f;
    p = p * y + 1.33803144e-1f, q = q * y + 4.67136318e-1f;
    *above = x * (p * y + 1), *below = q * y + 1;
#endif
}

static INLINE VECTOR NAME(hyperbolic_tangent)(VECTOR x) {
    VECTOR above, below;
    NAME(tangent)(x, &above, &below);
    return above / below;
}

/* sigmoid(x) = (1 + tanh(x / 2)) / 2, as a fraction. */
static INLINE void NAME(sigmoid)(VECTOR x, VECTOR *above, VECTOR *below) {
    NAME(tangent)(x * (REAL)0.5, above, below);
    *above = (*above + *below) * (REAL)0.5;
}

/* sums[row] += the sum over k < depth of from[row * stride + k * step] times the four vectors at weights + k * pitch. */
static INLINE void NAME(multiply)(VECTOR sums[ROWS][4], int rows, const REAL *from, int64_t stride, int64_t step,
                                  const REAL *weights, int64_t pitch, int64_t depth) {
    for (int64_t k = 0; k < depth; k++) {
        const VECTOR *w = (const VECTOR *)(weights + k * pitch);
        const VECTOR w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
        UNROLL for (int row = 0; row < rows; row++) {
            const VECTOR value = from[row * stride + k * step] - (VECTOR){0}; /* adding 0 would change -0 and take time */
            sums[row][0] += value * w0;
            sums[row][1] += value * w1;
            sums[row][2] += value * w2;
            sums[row][3] += value * w3;
        }
    }
}
