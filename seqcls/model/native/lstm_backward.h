/* The pass backward: gradients of gates, inputs and weights, from the last step of a unit of work to its first. */

/* The number of columns of a matrix, padded to whole tiles. */
static INLINE int64_t NAME(columns)(int64_t size) { return (size + 4 * LANES - 1) / (4 * LANES) * 4 * LANES; }

/* The gradients of the gates of four vectors of units, for some rows; `carry` has those of their cells, [rows, columns]:

   dh_t = (the gradient of the state from outside) + dgates_{t+1} U,  dc_t = dh_t o (1 - tanh(c_t)^2) + dc_{t+1} f_{t+1},
   and for each gate the derivative of its function (Graves & Schmidhuber 2005, appendix A). */
static INLINE void NAME(backward_tile)(const LAYER *layer, REAL *carry, int rows, PLACE place, int64_t direction,
                                       int64_t unit) {
    const int64_t hidden = layer->hidden_size, width = layer->directions * hidden, columns = NAME(columns)(hidden);
    const int64_t column = direction * hidden + unit, back = (place.before - place.at) * width;
    const REAL *cells = (const REAL *)layer->cells + place.at * width + column;
    const REAL *outside = (const REAL *)layer->outside + place.at * width + column;
    REAL *all_gates = (REAL *)layer->gates + (place.at * layer->directions + direction) * 4 * hidden + unit;
    VECTOR sums[ROWS][4];
    for (int row = 0; row < rows; row++) /* what is needed after the product arrives meanwhile */
        for (int64_t part = 0; part < 4 * LANES; part += LANES) {
            for (int gate = 0; gate < 4; gate++) __builtin_prefetch(all_gates + row * 4 * width + gate * hidden + part, 1);
            __builtin_prefetch(cells + row * width + part);
            __builtin_prefetch(cells + row * width + part + back);
        }
    UNROLL for (int row = 0; row < rows; row++)
        for (int q = 0; q < 4; q++)
            sums[row][q] = NAME(load)(outside + row * width + q * LANES, hidden - unit - q * LANES);
    if (place.has_after)
        NAME(multiply)(sums, rows, (const REAL *)layer->gates + (place.after * layer->directions + direction) * 4 * hidden,
                       4 * width, 1, (const REAL *)layer->weights + (direction * columns + unit) * 4 * hidden, 4 * LANES,
                       4 * hidden);
    for (int row = 0; row < rows; row++)
        for (int q = 0; q < 4 && unit + q * LANES < hidden; q++) {
            const int64_t part = q * LANES, count = hidden - unit - part;
            REAL *gates = all_gates + row * 4 * width + part;
            VECTOR *carried = (VECTOR *)(carry + row * columns + unit + part);
            const VECTOR i = NAME(load)(gates, count), f = NAME(load)(gates + hidden, count);
            const VECTOR g = NAME(load)(gates + 2 * hidden, count), o = NAME(load)(gates + 3 * hidden, count);
            const VECTOR c = NAME(hyperbolic_tangent)(NAME(load)(cells + row * width + part, count));
            VECTOR before = {0}, dh = sums[row][q], dc = dh * o * (1 - c * c);
            if (place.has_before) before = NAME(load)(cells + row * width + part + back, count);
            if (place.has_after) dc += *carried;
            *carried = dc * f;
            NAME(store)(gates, dc * g * i * (1 - i), count);
            NAME(store)(gates + hidden, dc * before * f * (1 - f), count);
            NAME(store)(gates + 2 * hidden, dc * i * (1 - g * g), count);
            NAME(store)(gates + 3 * hidden, dh * c * o * (1 - o), count);
        }
}

static void NAME(backward_rows)(const LAYER *layer, REAL *carry, int64_t rows, PLACE place, int64_t direction, int64_t unit) {
    const int64_t columns = NAME(columns)(layer->hidden_size);
#define TILE(n, first) \
    NAME(backward_tile)(layer, carry + (first) * columns, n, NAME(shifted)(place, first), direction, unit)
    EACH_TILE(rows, TILE)
#undef TILE
}

/* dx_t = dgates_t W, for four vectors of inputs and some rows. */
static INLINE void NAME(input_tile)(const LAYER *layer, int rows, int64_t at, int64_t direction, int64_t column) {
    const int64_t inputs = layer->input_size, depth = 4 * layer->hidden_size, columns = NAME(columns)(inputs);
    VECTOR sums[ROWS][4] = {0};
    NAME(multiply)(sums, rows, (const REAL *)layer->gates + (at * layer->directions + direction) * depth,
                   layer->directions * depth, 1, (const REAL *)layer->input_weights + (direction * columns + column) * depth,
                   4 * LANES, depth);
    for (int row = 0; row < rows; row++)
        for (int q = 0; q < 4 && column + q * LANES < inputs; q++)
            NAME(store)((REAL *)layer->input_gradients + (direction * layer->rows + at + row) * inputs + column + q * LANES,
                        sums[row][q], inputs - column - q * LANES);
}

/* Rows that wait until there are enough to add their products to the gradients of the weights: the gradients of the gates, and the
   inputs and earlier states that went in. They lie in memory so that what a tile reads fits the smallest cache: at distances of
   a power of two they would evict each other. */
typedef struct {
    int64_t rows, columns, pitch;
    REAL *gates;   /* [WAITING, pitch], the first 4 * hidden_size in use */
    REAL *inputs;  /* [columns / (4 * LANES), WAITING, 4 * LANES], input_size + hidden_size in use */
    REAL *weights; /* [4 * hidden_size, columns], the gradients of the weights */
    REAL *biases;  /* [4 * hidden_size] */
} NAME(waiting);

static INLINE void NAME(weight_tile)(NAME(waiting) *waiting, int rows, int64_t gate, int64_t column) {
    VECTOR sums[ROWS][4];
    REAL *weights = waiting->weights + gate * waiting->columns + column;
    UNROLL for (int row = 0; row < rows; row++)
        UNROLL for (int q = 0; q < 4; q++)
            sums[row][q] = *(const VECTOR *)(weights + row * waiting->columns + q * LANES);
    NAME(multiply)(sums, rows, waiting->gates + gate, 1, waiting->pitch, waiting->inputs + column * WAITING, 4 * LANES,
                   waiting->rows);
    UNROLL for (int row = 0; row < rows; row++)
        UNROLL for (int q = 0; q < 4; q++)
            *(VECTOR *)(weights + row * waiting->columns + q * LANES) = sums[row][q];
}

/* Add the waiting rows: dW += dgates^T x, dU += dgates^T h_{t-1}. */
static void NAME(add_products)(NAME(waiting) *waiting, int64_t depth) {
    for (int64_t column = 0; column < waiting->columns; column += 4 * LANES) {
#define TILE(n, first) NAME(weight_tile)(waiting, n, first, column)
        EACH_TILE(depth, TILE)
#undef TILE
    }
    waiting->rows = 0;
}

/* Write values, or 0 if there are none, from a column on. */
static void NAME(wait)(NAME(waiting) *waiting, const REAL *values, int64_t column, int64_t count) {
    while (count > 0) {
        const int64_t offset = column % (4 * LANES), part = least(count, 4 * LANES - offset);
        REAL *to = waiting->inputs + ((column - offset) * WAITING + waiting->rows * 4 * LANES + offset);
        if (values)
            memcpy(to, values, part * sizeof(REAL)), values += part;
        else
            memset(to, 0, part * sizeof(REAL));
        column += part, count -= part;
    }
}

static void NAME(add_row)(const LAYER *layer, NAME(waiting) *waiting, PLACE place, int64_t direction) {
    const int64_t hidden = layer->hidden_size, inputs = layer->input_size;
    const REAL *gates = (const REAL *)layer->gates + (place.at * layer->directions + direction) * 4 * hidden;
    const REAL *states = (const REAL *)layer->states + (place.before * layer->directions + direction) * hidden;
    REAL *to = waiting->gates + waiting->rows * waiting->pitch;
    for (int64_t gate = 0; gate < 4 * hidden; gate++) {
        to[gate] = gates[gate];
        waiting->biases[gate] += gates[gate];
    }
    NAME(wait)(waiting, (const REAL *)layer->inputs + place.at * inputs, 0, inputs);
    NAME(wait)(waiting, place.has_before ? states : NULL, inputs, hidden);
    if (++waiting->rows == WAITING) NAME(add_products)(waiting, 4 * hidden);
}

/* The gradients of a step, those of the gates first. The three parts of the rows have steps both before and after them, one of the
   two (the same one for all rows), and neither. */
static void NAME(backward_step)(const LAYER *layer, REAL *carry, NAME(waiting) *waiting, const PLACE places[3],
                                const int64_t counts[3], int64_t direction) {
    const int64_t hidden = layer->hidden_size, all = counts[0] + counts[1] + counts[2];
    for (int64_t unit = 0; unit < hidden; unit += 4 * LANES)
        for (int part = 0; part < 3; part++)
            NAME(backward_rows)(layer, carry + (places[part].at - places[0].at) * NAME(columns)(hidden), counts[part],
                                places[part], direction, unit);
    for (int64_t column = 0; layer->input_gradients && column < layer->input_size; column += 4 * LANES) {
#define TILE(n, first) NAME(input_tile)(layer, n, places[0].at + (first), direction, column)
        EACH_TILE(all, TILE)
#undef TILE
    }
    for (int part = 0; part < 3; part++)
        for (int64_t row = 0; row < counts[part]; row++)
            NAME(add_row)(layer, waiting, NAME(shifted)(places[part], row), direction);
}

static int NAME(backward_unit)(const LAYER *layer, int64_t number) {
    const int64_t direction = number % layer->directions, first = number / layer->directions * layer->block;
    const int64_t hidden = layer->hidden_size, columns = NAME(columns)(layer->input_size + hidden), last = layer->steps - 1;
    REAL *carry = malloc(layer->block * NAME(columns)(hidden) * sizeof(REAL));
    const int64_t pitch = 4 * hidden + LANES;
    NAME(waiting) waiting = {
        0, columns, pitch, malloc(WAITING * pitch * sizeof(REAL)), calloc(WAITING * columns, sizeof(REAL)),
        (REAL *)layer->weight_gradients + number * 4 * hidden * columns, (REAL *)layer->bias_gradients + number * 4 * hidden};
    const int has_memory = carry && waiting.gates && waiting.inputs;
    for (int64_t turn = last; has_memory && turn >= 0; turn--) {
        const int64_t step = direction ? last - turn : turn;
        const int64_t earlier = direction ? step + 1 : step - 1, later = direction ? step - 1 : step + 1;
        const int64_t rows = rows_at(layer, step, first);
        const int64_t old = turn > 0 ? least(rows, rows_at(layer, earlier, first)) : 0;
        const int64_t going_on = turn < last ? least(rows, rows_at(layer, later, first)) : 0;
        const int64_t both = least(old, going_on), either = old + going_on - both;
        const PLACE place = {layer->starts[step] + first, turn > 0 ? layer->starts[earlier] + first : 0,
                             turn < last ? layer->starts[later] + first : 0, 1, 1};
        PLACE places[3] = {place, NAME(shifted)(place, both), NAME(shifted)(place, either)};
        places[1].has_before = old > both, places[1].has_after = going_on > both;
        places[2].has_before = places[2].has_after = 0;
        NAME(backward_step)(layer, carry, &waiting, places, (int64_t[]){both, either - both, rows - either}, direction);
    }
    if (has_memory) NAME(add_products)(&waiting, 4 * hidden);
    free(carry), free(waiting.gates), free(waiting.inputs);
    return has_memory;
}
