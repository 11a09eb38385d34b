/* Prediction with AMX tiles: lstm_layer.h includes this for float, where the build asks for it.

   A tile multiplies numbers of 16 bits (bfloat16, 8 bits significant) and adds up in float. A float is the sum of two such numbers
   to within 2^-17; of the four products of two sums, the three larger ones are added (Henry, Tang & Heinecke 2019, "Leveraging the
   bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations"). That is exact enough for predictions, but not for
   gradients. Sizes are multiples of CHUNK. */

#define PIECES 2
#define TILE_ROWS 16
#define CHUNK 32 /* values per row of a tile */
#define TILE (TILE_ROWS * CHUNK)
#define GROUP (4 * LANES) /* sums per row: those of four tiles */

/* A unit of work: its cells and, in pieces [block / TILE_ROWS, size / CHUNK, PIECES, TILE_ROWS, CHUNK], the inputs of a step and the
   states before and after it. Rows are sequences; the rows of sequences that have not begun are 0. */
typedef struct {
    const LAYER *layer;
    int64_t direction;
    float *cells; /* [block, hidden_size] */
    uint16_t *inputs, *states, *new_states;
} UNIT;

/* Sums of a panel for the rows of a tile, and the number of rows whose gates are done. */
typedef struct {
    float sums[TILE_ROWS * GROUP] __attribute__((aligned(64)));
    int64_t panel, row, rows, done;
    int64_t at, next; /* where the row is, and where the same row of the next step is */
} PART;

static INLINE int64_t panels_of(const LAYER *layer) { return layer->hidden_size / LANES; }
static INLINE int64_t input_chunks(const LAYER *layer) { return layer->projections ? 0 : layer->input_size / CHUNK; }
static INLINE int64_t state_chunks(const LAYER *layer) { return layer->hidden_size / CHUNK; }

/* Return the upper 16 bits of values, rounded, and keep the remainder. */
static INLINE __m256i take_piece(VECTOR *rest) {
    const __m256bh upper = _mm512_cvtneps_pbh((__m512)*rest);
    *rest -= (VECTOR)_mm512_cvtpbh_ps(upper);
    return (__m256i)upper;
}

/* Values that can be cut into pieces: an infinite one has no remainder, so that the largest finite one replaces it. */
static INLINE VECTOR clamped(VECTOR x) { return NAME(clamp)(x, 0x1.fep127f - (VECTOR){0}); }

/* Write the pieces of LANES values of a row. */
static INLINE void cut(VECTOR values, uint16_t *to, int64_t chunks, int64_t row, int64_t column) {
    to += (row / TILE_ROWS * chunks + column / CHUNK) * PIECES * TILE + row % TILE_ROWS * CHUNK + column % CHUNK;
    for (int piece = 0; piece < PIECES; piece++) _mm256_store_si256((__m256i *)(to + piece * TILE), take_piece(&values));
}

/* The tiles of the weights of a panel, [chunks, 4, PIECES, TILE], those of inputs first. */
static INLINE uint16_t *tiles_of(const LAYER *layer, int64_t panel) {
    return (uint16_t *)layer->tiles + panel * (input_chunks(layer) + state_chunks(layer)) * 4 * PIECES * TILE;
}

/* Cut the weights of a panel into tiles whose rows hold two weights for each unit; panels are numbered direction by direction. */
static int tiles_unit(const LAYER *layer, int64_t number) {
    const int64_t depth = layer->input_size + layer->hidden_size;
    const int64_t first = layer->input_size - input_chunks(layer) * CHUNK;
    for (int64_t row = 0; row < depth - first; row += 2)
        for (int gate = 0; gate < 4; gate++) {
            const VECTOR *from = (const VECTOR *)((const float *)layer->weights + (number * depth + first + row) * GROUP) + gate;
            VECTOR even = clamped(from[0]), odd = clamped(from[4]);
            uint16_t *to = tiles_of(layer, number) + (row / CHUNK * 4 + gate) * PIECES * TILE + row % CHUNK * LANES;
            for (int piece = 0; piece < PIECES; piece++) {
                const __m512i lower = _mm512_cvtepu16_epi32(take_piece(&even));
                const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(take_piece(&odd)), 16);
                _mm512_storeu_si512(to + piece * TILE, _mm512_or_si512(lower, upper));
            }
        }
    return 1;
}

/* The gates, cells and states of one row or two. */
static INLINE void finish_rows(const UNIT *unit, const PART *part, int rows) {
    const LAYER *layer = unit->layer;
    const int64_t hidden = layer->hidden_size, column = part->panel * LANES, row = part->row + part->done;
    VECTOR sums[2][4], cells[2], states[2];
    UNROLL for (int number = 0; number < rows; number++) {
        const VECTOR *products = (const VECTOR *)(part->sums + (part->done + number) * GROUP);
        const float *from = (const float *)layer->biases + (unit->direction * panels_of(layer) + part->panel) * GROUP;
        if (layer->projections) {
            from = NAME(projection)(layer, part->at + part->done + number, unit->direction, part->panel);
            const int64_t next = least(part->next + part->done + number, layer->starts[layer->steps] - 1);
            const float *later = NAME(projection)(layer, next, unit->direction, part->panel);
            for (int gate = 0; gate < 4; gate++) __builtin_prefetch(later + gate * LANES, 0, 2);
        }
        for (int gate = 0; gate < 4; gate++) sums[number][gate] = ((const VECTOR *)from)[gate] + products[gate];
        cells[number] = *(const VECTOR *)(unit->cells + (row + number) * hidden + column);
    }
    NAME(advance)(sums, rows, cells, states);
    UNROLL for (int number = 0; number < rows; number++) {
        *(VECTOR *)(unit->cells + (row + number) * hidden + column) = cells[number];
        cut(states[number], unit->new_states, state_chunks(layer), row + number, column);
        const int64_t place = (part->at + part->done + number) * layer->directions + unit->direction;
        *(VECTOR *)((float *)layer->states + place * hidden + column) = states[number];
    }
}

/* Compute the gates of a part until those of `rows` rows are done. */
static __attribute__((noinline)) void finish_until(const UNIT *unit, PART *part, int64_t rows) {
    for (; part->done < least(rows, part->rows); part->done += 2)
        if (part->rows - part->done > 1)
            finish_rows(unit, part, 2);
        else
            finish_rows(unit, part, 1);
}

/* GCC does not know that loads and stores of tiles read and write memory. */
#define BARRIER __asm__ volatile("" ::: "memory")
#define LOAD(tile, from) _tile_loadd(tile, from, CHUNK * sizeof(uint16_t))
/* Add values, whose pieces are in tiles 4 and 5, times weights to the sums of a gate. */
#define MULTIPLY(gate, weights)                            \
    LOAD(6, (weights) + (gate) * PIECES * TILE);           \
    _tile_dpbf16ps(gate, 4, 6);                            \
    _tile_dpbf16ps(gate, 5, 6);                            \
    LOAD(7, (weights) + ((gate) * PIECES + 1) * TILE);     \
    _tile_dpbf16ps(gate, 4, 7);
#define STORE(gate, sums) _tile_stored(gate, (sums) + (gate) * LANES, GROUP * sizeof(float))

/* Compute the products of a part and the gates of the part before it: neither kind of arithmetic waits for the other. */
static void multiply_part(const UNIT *unit, PART *part, PART *before) {
    const LAYER *layer = unit->layer;
    const int64_t inputs = input_chunks(layer), all = inputs + state_chunks(layer), tile = part->row / TILE_ROWS;
    const uint16_t *weights = tiles_of(layer, unit->direction * panels_of(layer) + part->panel);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    BARRIER;
    for (int64_t chunk = 0; chunk < all; chunk++, weights += 4 * PIECES * TILE) {
        const uint16_t *values = chunk < inputs
                                     ? unit->inputs + (tile * inputs + chunk) * PIECES * TILE
                                     : unit->states + (tile * (all - inputs) + chunk - inputs) * PIECES * TILE;
        LOAD(4, values);
        LOAD(5, values + TILE);
        MULTIPLY(0, weights)
        MULTIPLY(1, weights)
        finish_until(unit, before, TILE_ROWS * (2 * chunk + 1) / (2 * all));
        MULTIPLY(2, weights)
        MULTIPLY(3, weights)
        finish_until(unit, before, TILE_ROWS * (chunk + 1) / all);
    }
    STORE(0, part->sums);
    STORE(1, part->sums);
    STORE(2, part->sums);
    STORE(3, part->sums);
    BARRIER;
}

static void tiled_step(const UNIT *unit, int64_t rows, int64_t at, int64_t next) {
    PART parts[2], *part = &parts[0], *before = &parts[1];
    before->rows = before->done = 0;
    for (int64_t panel = 0; panel < panels_of(unit->layer); panel++)
        for (int64_t row = 0; row < rows; row += TILE_ROWS) {
            part->panel = panel, part->row = row, part->rows = least(rows - row, TILE_ROWS), part->done = 0;
            part->at = at + row, part->next = next + row;
            multiply_part(unit, part, before);
            PART *done = before;
            before = part, part = done;
        }
    finish_until(unit, before, TILE_ROWS);
}

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} CONFIGURATION;

/* Tiles of sums and values have `rows` rows; those of weights have all. */
static void configure(int64_t rows) {
    CONFIGURATION tiles = {.palette = 1};
    for (int tile = 0; tile < 8; tile++)
        tiles.row_bytes[tile] = CHUNK * sizeof(uint16_t), tiles.rows[tile] = tile < 6 ? rows : TILE_ROWS;
    __asm__ volatile("" : : "r"(&tiles) : "memory"); /* nor does GCC know that this reads all of them */
    _tile_loadconfig(&tiles);
}

/* Like `forward_unit`, for a layer whose gradients are not wanted. */
static int tiled_forward_unit(const LAYER *layer, int64_t number) {
    const int64_t first = number / layer->directions * layer->block, inputs = layer->input_size;
    const int64_t rounded = (layer->block + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    const int64_t of_inputs = rounded * input_chunks(layer) * CHUNK, of_states = rounded * layer->hidden_size;
    const int64_t bytes = of_states * sizeof(float) + (of_inputs + 2 * of_states) * PIECES * sizeof(uint16_t);
    float *memory = aligned_alloc(64, bytes);
    if (!memory) return 0;
    memset(memory, 0, bytes);
    UNIT unit = {layer, number % layer->directions, memory, (uint16_t *)(memory + of_states), NULL, NULL};
    unit.states = unit.inputs + of_inputs * PIECES, unit.new_states = unit.states + of_states * PIECES;
    configure(least(layer->block, TILE_ROWS));
    for (int64_t turn = 0; turn < layer->steps; turn++) {
        const int64_t step = unit.direction ? layer->steps - 1 - turn : turn;
        const int64_t later = turn + 1 == layer->steps ? step : unit.direction ? step - 1 : step + 1;
        const int64_t rows = rows_at(layer, step, first), at = layer->starts[step] + first;
        for (int64_t row = 0; !layer->projections && row < rows; row++)
            for (int64_t column = 0; column < inputs; column += LANES) {
                const float *from = (const float *)layer->inputs + (at + row) * inputs + column;
                __builtin_prefetch(from + (layer->starts[later] - layer->starts[step]) * inputs);
                cut(clamped(*(const VECTOR *)from), unit.inputs, input_chunks(layer), row, column);
            }
        tiled_step(&unit, rows, at, layer->starts[later] + first);
        uint16_t *old = unit.states;
        unit.states = unit.new_states, unit.new_states = old;
    }
    _tile_release();
    free(memory);
    return 1;
}

#undef TILE
