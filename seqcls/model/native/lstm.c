/* The time loop of LSTM layers, forward and backward: plain C with the vector extensions of GCC and Clang.

   Each unit of work is one direction of a block of sequences, from the first step to the last. Units share only what they
   read, so that a layer needs a single barrier, at its end, and the result of a row does not depend on the rows beside it. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <immintrin.h>
#endif
#ifdef TILES /* the build sets it for processors with AMX */
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifndef VECTOR_BYTES /* the build sets it to the size of the processor's registers */
#define VECTOR_BYTES 16
#endif
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 6")
/* Round a product before it is added to another: the compiler would fuse either one of them with the addition. */
#if VECTOR_BYTES == 64
#define ROUND(product) __asm__("" : "+v"(product))
#elif defined(__SSE__)
#define ROUND(product) __asm__("" : "+x"(product))
#elif defined(__aarch64__)
#define ROUND(product) __asm__("" : "+w"(product))
#else
#define ROUND(product)
#endif
#if VECTOR_BYTES == 64 /* where an operand is NaN, these return the second */
#define LESSER _mm512_min_ps
#define GREATER _mm512_max_ps
#elif VECTOR_BYTES == 32
#define LESSER _mm256_min_ps
#define GREATER _mm256_max_ps
#elif defined(__SSE__)
#define LESSER _mm_min_ps
#define GREATER _mm_max_ps
#endif

/* A tile is ROWS rows of four vectors: its sums, four weights and one value must fit the registers. EACH_TILE divides rows into
   tiles, of which the last may be smaller; to the compiler, each number of rows is a constant. */
#if VECTOR_BYTES == 64
#define ROWS 6
#define LARGER_TILES(left, first, TILE) \
    if ((left) == 5) TILE(5, first); else if ((left) == 4) TILE(4, first); else if ((left) == 3) TILE(3, first); else
#else
#define ROWS 3
#define LARGER_TILES(left, first, TILE)
#endif
#define EACH_TILE(rows, TILE)                                               \
    {                                                                       \
        int64_t first_ = 0;                                                 \
        for (; first_ + ROWS <= (rows); first_ += ROWS) TILE(ROWS, first_); \
        const int64_t left_ = (rows) - first_;                              \
        LARGER_TILES(left_, first_, TILE)                                   \
        if (left_ == 2) TILE(2, first_); else if (left_ == 1) TILE(1, first_); \
    }

/* The number of rows that wait before the gradients of the weights, which are large, are read and written once. */
#define WAITING 128

/* The arguments of a pass; library.py declares the same fields. N is the number of real steps of all sequences. Arrays [N, ...] are
   ordered by time and, within a step, by length, longest sequence first, so that those still running come first. A panel is as
   many hidden units as a vector has lanes. Columns are padded with 0 to a multiple of four vectors. In bands of columns, the
   matrices [4, hidden_size, columns] of the directions are [directions, columns / (4 * lanes), 4, hidden_size, 4 * lanes]. */
typedef struct {
    int64_t steps, input_size, hidden_size, directions;
    int64_t rows;    /* of inputs: N, or the number of different rows that `index` names */
    int64_t block;   /* most sequences per unit; where inputs are projected, rows */
    int64_t units;   /* directions * blocks; where inputs are projected, blocks; for the layout and for tiles, directions * panels */
    int64_t next;    /* the first unit that nobody has taken */
    int64_t failed;  /* whether memory ran out */
    const int64_t *starts;      /* [steps + 1] where the rows of each step begin */
    const void *inputs;         /* [rows, input_size] */
    const void *parameters[8];  /* for the layout, PyTorch's of each direction: weights of inputs, [4 * hidden_size,
                                   input_size], weights of states, and the biases of both */
    void *weights;              /* forward: [directions, panels, input_size + hidden_size, 4, lanes]
                                   backward: the weights of states, in bands of columns */
    void *biases;               /* forward: [directions, panels, 4, lanes] */
    void *tiles;                /* for AMX, the weights of inputs, unless these are projected, and of states, in the pieces
                                   of lstm_amx.h: as many bytes as the floats */
    void *projections;          /* [rows, directions, panels, 4, lanes], inputs times weights, plus biases. forward: NULL to
                                   compute them step by step */
    const int64_t *index;       /* [N] the row of projections that each step reads; NULL: the step's own */
    void *gates;                /* [N, directions, 4, hidden_size], i f g o; the backward pass replaces them by their gradients.
                                   forward: NULL if there will be no backward pass */
    void *cells;                /* [N, directions, hidden_size] */
    void *states;               /* [N, directions, hidden_size] */
    /* For the backward pass: */
    const void *outside;        /* the gradients of the states, [N, directions, hidden_size] */
    const void *input_weights;  /* the weights of inputs, in bands of columns */
    void *input_gradients;      /* [directions, N, input_size]; NULL if not wanted */
    void *weight_gradients;     /* [units, 4, hidden_size, columns] of inputs and states side by side, 0 at first */
    void *bias_gradients;       /* [units, 4, hidden_size], 0 at first */
} LAYER;

static INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The number of sequences of a unit that have this step; the first sequence of the unit is number `first`. */
static INLINE int64_t rows_at(const LAYER *layer, int64_t step, int64_t first) {
    const int64_t rows = layer->starts[step + 1] - layer->starts[step] - first;
    return rows < 0 ? 0 : least(rows, layer->block);
}

#define NAME(name) name##_float
#define REAL float
#define INTEGER int32_t
#define EXACT 0
#include "lstm_layer.h"
#undef NAME
#undef REAL
#undef INTEGER
#undef EXACT

#define NAME(name) name##_double
#define REAL double
#define INTEGER int64_t
#define EXACT 1
#include "lstm_layer.h"

#ifdef TILES
#define IF_TILES(function) function
#else
#define IF_TILES(function) NULL
#endif

typedef int (*unit_function)(const LAYER *, int64_t);

typedef struct {
    LAYER *layer;
    unit_function unit;
} WORK;

#define FLUSH 0x8040 /* treat results and operands that are too small for full precision as 0 */

static void work(void *data) {
    const WORK *mine = data;
    LAYER *layer = mine->layer;
#ifdef __SSE__ /* denormal numbers take a hundred times as long, and zero is close enough */
    const unsigned control = _mm_getcsr();
    _mm_setcsr(control | FLUSH);
#endif
    for (int64_t number; (number = __atomic_fetch_add(&layer->next, 1, __ATOMIC_RELAXED)) < layer->units;)
        if (!mine->unit(layer, number)) __atomic_store_n(&layer->failed, 1, __ATOMIC_RELAXED);
#ifdef __SSE__
    _mm_setcsr(control);
#endif
}

static void flush(void *data) {
#ifdef __SSE__
    _mm_setcsr(*(const int *)data ? _mm_getcsr() | FLUSH : _mm_getcsr() & ~FLUSH);
#else
    (void)data;
#endif
}

/* Turn the flushing of denormal numbers to zero on or off, in all threads of the pool. */
void seqcls_flush_denormals(int on, unsigned threads, void (*parallel)(void (*)(void *), void *, unsigned, unsigned)) {
    if (parallel && threads > 1)
        parallel(flush, &on, threads, 0);
    else
        flush(&on);
}

/* Run a pass of a layer: 0 lays out the parameters for the forward passes, 1 projects the inputs, 2 goes forward, 3 backward. With
   AMX, 4 makes tiles of what 0 laid out, and 5 goes forward with them. Return 0 if memory ran out. `parallel` is GOMP_parallel of
   PyTorch's OpenMP library, whose threads are waiting already; NULL: this thread does everything. */
int seqcls_lstm(LAYER *layer, int pass, int is_double, unsigned threads,
                void (*parallel)(void (*)(void *), void *, unsigned, unsigned)) {
    static const unit_function functions[6][2] = {{layout_unit_float, layout_unit_double},
                                                  {projection_unit_float, projection_unit_double},
                                                  {forward_unit_float, forward_unit_double},
                                                  {backward_unit_float, backward_unit_double},
                                                  {IF_TILES(tiles_unit), NULL},
                                                  {IF_TILES(tiled_forward_unit), NULL}};
    WORK all = {layer, functions[pass][!!is_double]};
    if (parallel && threads > 1)
        parallel(work, &all, threads, 0);
    else
        work(&all);
    return !layer->failed;
}

/* By this the caller recognizes a library of another version. */
int seqcls_layer_bytes(void) { return (int)sizeof(LAYER); }

/* Whether this machine can run the library, given large enough vector registers. */
int seqcls_usable(void) {
#ifdef TILES
    unsigned a, b, c, d = 0;
    const unsigned tiles = 1u << 22 | 1u << 24; /* AMX_BF16 and AMX_TILE; AVX512_BF16 is in the next leaf */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) != tiles) return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) return 0;
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* the data of tiles */) == 0;
#else
    return 1;
#endif
}

int seqcls_vector_bytes(void) { return VECTOR_BYTES; }
