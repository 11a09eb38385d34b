/* The time loop of LSTM layers, forward and backward: plain C with GCC's vectors, which Clang has too.

   Each unit of work is one direction of some sequences, from its first step to its last. Units share nothing but what they
   read, so that a layer needs one barrier, at its end, and a row's result does not depend on the rows beside it. */

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

#ifndef VECTOR_BYTES /* the build sets it to what the processor's registers hold */
#define VECTOR_BYTES 16
#endif
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 6")
/* Round a product before it is added to another: of two the compiler would fuse one with the addition, here this, there that. */
#if VECTOR_BYTES == 64
#define ROUND(product) __asm__("" : "+v"(product))
#elif defined(__SSE__)
#define ROUND(product) __asm__("" : "+x"(product))
#elif defined(__aarch64__)
#define ROUND(product) __asm__("" : "+w"(product))
#else
#define ROUND(product)
#endif
#if VECTOR_BYTES == 64 /* of two operands these return the second where one is NaN */
#define LESSER _mm512_min_ps
#define GREATER _mm512_max_ps
#elif VECTOR_BYTES == 32
#define LESSER _mm256_min_ps
#define GREATER _mm256_max_ps
#elif defined(__SSE__)
#define LESSER _mm_min_ps
#define GREATER _mm_max_ps
#endif

/* A tile is so many rows of four vectors: its sums, the four weights and a value must fit the registers. EACH_TILE cuts rows
   into tiles, the last of which is smaller; the number of rows is a constant to the compiler. */
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

/* So many rows wait before the gradients of the weights, which are large, are read and written. */
#define WAITING 128

/* lstm.py has the same. N is the number of real steps of all sequences, [N, ...] in the order of
   time; within a step the sequences stand longest first, so that those still running come first. A panel is as many units as a
   vector has lanes; columns are filled up with 0 to a multiple of four vectors. In bands of columns, a matrix of [4, hidden_size,
   columns] a direction is [directions, columns / (4 * lanes), 4, hidden_size, 4 * lanes]. */
typedef struct {
    int64_t steps, input_size, hidden_size, directions;
    int64_t rows;    /* of inputs: N, or those that differ */
    int64_t block;   /* most sequences of a unit, rows where inputs are projected */
    int64_t units;   /* directions * blocks, blocks where inputs are projected, directions * panels for the layout and for tiles */
    int64_t next;    /* the first unit that nobody has taken */
    int64_t failed;  /* whether memory did not suffice */
    const int64_t *starts;      /* [steps + 1] where the rows of each step begin */
    const void *inputs;         /* [rows, input_size] */
    const void *parameters[8];  /* for the layout, those of PyTorch of each direction: weights of inputs, [4 * hidden_size,
                                   input_size], and of states, biases of both */
    void *weights;              /* forward: [directions, panels, input_size + hidden_size, 4, lanes]
                                   backward: the recurrent ones, of states, in bands of columns */
    void *biases;               /* forward: [directions, panels, 4, lanes] */
    void *tiles;                /* for AMX, the weights of states, and before them those of inputs that are not projected, as
                                   lstm_amx.h cuts them: as many bytes as the floats */
    void *projections;          /* [rows, directions, panels, 4, lanes], inputs times weights, and biases. forward: NULL where
                                   they are to be computed step by step */
    const int64_t *index;       /* [N] the row of projections of each step; NULL: its own */
    void *gates;                /* [N, directions, 4, hidden_size], i f g o; the backward pass turns them into their gradients.
                                   forward: NULL where there will be no backward pass */
    void *cells;                /* [N, directions, hidden_size] */
    void *states;               /* [N, directions, hidden_size] */
    /* For the backward pass: */
    const void *outside;        /* the gradients of the states, [N, directions, hidden_size] */
    const void *input_weights;  /* those of inputs, in bands of columns */
    void *input_gradients;      /* [directions, N, input_size]; NULL where nobody wants them */
    void *weight_gradients;     /* [units, 4, hidden_size, columns] for inputs and states side by side, 0 at first */
    void *bias_gradients;       /* [units, 4, hidden_size], 0 at first */
} LAYER;

static INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The sequences of a unit, the first of which is number `first`, that have this step. */
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

#define FLUSH 0x8040 /* results and operands too small for full precision count as 0 */

static void work(void *data) {
    const WORK *mine = data;
    LAYER *layer = mine->layer;
#ifdef __SSE__ /* numbers too small for a normal float take a hundred times as long: zero is near enough */
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

/* Let the threads of a pool flush denormal numbers, or no longer: computing with them takes a hundred times as long. */
void seqcls_flush_denormals(int on, unsigned threads, void (*parallel)(void (*)(void *), void *, unsigned, unsigned)) {
    if (parallel && threads > 1)
        parallel(flush, &on, threads, 0);
    else
        flush(&on);
}

/* Run a pass of a layer: 0 lays out the parameters for those forward, 1 projects the inputs, 2 goes forward, 3 backward; with AMX
   4 makes tiles of what 0 laid out, with which 5 goes forward. Return 0 if memory did not suffice. `parallel` is GOMP_parallel of
   the OpenMP library that PyTorch uses, whose threads wait already; NULL: this thread does it all. */
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

/* To tell whether a library is of the version that calls it. */
int seqcls_layer_bytes(void) { return (int)sizeof(LAYER); }

/* Whether this machine can run the library, if its vector registers are large enough. */
int seqcls_usable(void) {
#ifdef TILES
    unsigned a, b, c, d = 0;
    const unsigned tiles = 1u << 22 | 1u << 24; /* AMX_BF16 and AMX_TILE; AVX512_BF16 in the next leaf */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) != tiles) return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) return 0;
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* the data of tiles */) == 0;
#else
    return 1;
#endif
}

int seqcls_vector_bytes(void) { return VECTOR_BYTES; }
