/* One unit of an LSTM layer, for one type of numbers: lstm.c includes this once a type.

   i, f, o = sigmoid(W x_t + U h_{t-1} + b), g = tanh(...), c_t = f c_{t-1} + i g, h_t = o tanh(c_t)
   (Hochreiter & Schmidhuber 1997, with the forget gates of Gers et al. 2000). */

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

/* x, or the limit where x is beyond it on either side; NaN stays. */
static INLINE VECTOR NAME(clamp)(VECTOR x, VECTOR limit) {
#if defined(LESSER) && !EXACT
    return (VECTOR)GREATER(-limit, LESSER(limit, x));
#else
    x = NAME(choose)(x > limit, limit, x);
    return NAME(choose)(x < -limit, -limit, x);
#endif
}

/* tanh x as a fraction, so that several can share a division. For float the one of degrees 9 and 8 whose largest error as far
   as 9, where tanh is 1, is least: 2e-8 (found by least squares, with Lawson's weights); computed in float it is within 4e-7.
   The denominator is from 1 to 417. */
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
            const VECTOR value = from[row * stride + k * step] - (VECTOR){0}; /* adding 0 would change -0, and take time */
            sums[row][0] += value * w0;
            sums[row][1] += value * w1;
            sums[row][2] += value * w2;
            sums[row][3] += value * w3;
        }
    }
}

/* Where some rows of a step stand, and the same sequences' rows in the steps before and after, in the direction of reading. */
typedef struct {
    int64_t at, before, after;
    int has_before, has_after;
} NAME(place);
#define PLACE NAME(place)

static INLINE PLACE NAME(shifted)(PLACE place, int64_t rows) {
    place.at += rows, place.before += rows, place.after += rows;
    return place;
}

/* Write rows of matrices side by side as the columns of a panel: its row k has the k-th value of each row. */
static INLINE void NAME(interleave)(const REAL *from, int64_t size, const int64_t rows[4 * LANES], REAL *to) {
    for (int64_t start = 0; start < size; start += LANES) /* so many lines of `to` stay in the cache */
        for (int64_t lane = 0; lane < 4 * LANES; lane++)
            for (int64_t k = start; k < least(start + LANES, size); k++)
                to[k * 4 * LANES + lane] = rows[lane] < 0 ? 0 : from[rows[lane] * size + k];
}

/* The weights and biases of a panel; panels are numbered direction by direction. */
static int NAME(layout_unit)(const LAYER *layer, int64_t number) {
    const int64_t inputs = layer->input_size, hidden = layer->hidden_size, panels = (hidden + LANES - 1) / LANES;
    const void *const *own = layer->parameters + number / panels * 4;
    REAL *weights = (REAL *)layer->weights + number * (inputs + hidden) * 4 * LANES;
    REAL *biases = (REAL *)layer->biases + number * 4 * LANES;
    int64_t rows[4 * LANES]; /* of the parameters; -1 for lanes without a unit */
    for (int64_t lane = 0; lane < 4 * LANES; lane++) {
        const int64_t unit = number % panels * LANES + lane % LANES;
        rows[lane] = unit < hidden ? lane / LANES * hidden + unit : -1;
        biases[lane] = rows[lane] < 0 ? 0 : ((const REAL *)own[2])[rows[lane]] + ((const REAL *)own[3])[rows[lane]];
    }
    NAME(interleave)(own[0], inputs, rows, weights);
    NAME(interleave)(own[1], hidden, rows, weights + inputs * 4 * LANES);
    return 1;
}

/* What the gates of a panel, LANES units, are before the state is added, for some rows. */
static INLINE void NAME(project)(const LAYER *layer, VECTOR sums[ROWS][4], int rows, int64_t at, int64_t direction,
                                 int64_t panel) {
    const int64_t inputs = layer->input_size, panels = (layer->hidden_size + LANES - 1) / LANES;
    const int64_t number = direction * panels + panel;
    const REAL *weights = (const REAL *)layer->weights + number * (inputs + layer->hidden_size) * 4 * LANES;
    const REAL *biases = (const REAL *)layer->biases + number * 4 * LANES;
    UNROLL for (int row = 0; row < rows; row++)
        for (int gate = 0; gate < 4; gate++) sums[row][gate] = NAME(load)(biases + gate * LANES, LANES);
    NAME(multiply)(sums, rows, (const REAL *)layer->inputs + at * inputs, inputs, 1, weights, 4 * LANES, inputs);
}

static INLINE const REAL *NAME(projection)(const LAYER *layer, int64_t at, int64_t direction, int64_t panel) {
    const int64_t row = layer->index ? layer->index[at] : at, panels = (layer->hidden_size + LANES - 1) / LANES;
    return (const REAL *)layer->projections + ((row * layer->directions + direction) * panels + panel) * 4 * LANES;
}

/* From the sums of the gates of a panel and its cells before, 0 where there are none: the gates, in place of the sums, its cells
   and states, for one row or two at once, which keeps the processor busy. Of what divides the gates one inverse is taken, of
   the product of all four. */
static INLINE void NAME(advance)(VECTOR sums[][4], int rows, VECTOR cells[2], VECTOR states[2]) {
    VECTOR below[2][4];
    UNROLL for (int gate = 0; gate < 4; gate++)
        UNROLL for (int row = 0; row < rows; row++) {
            if (gate == 2)
                NAME(tangent)(sums[row][gate], &sums[row][gate], &below[row][gate]);
            else
                NAME(sigmoid)(sums[row][gate], &sums[row][gate], &below[row][gate]);
        }
    UNROLL for (int row = 0; row < rows; row++) {
        VECTOR *gates = sums[row], *own = below[row]; /* i f g o */
        const VECTOR i_f = own[0] * own[1], g_o = own[2] * own[3], inverse = 1 / (i_f * g_o);
        gates[0] *= own[1] * (g_o * inverse), gates[1] *= own[0] * (g_o * inverse);
        gates[2] *= own[3] * (i_f * inverse), gates[3] *= own[2] * (i_f * inverse);
        VECTOR new = gates[0] * gates[2];
        ROUND(new);
        cells[row] = new + gates[1] * cells[row];
    }
    UNROLL for (int row = 0; row < rows; row++) states[row] = sums[row][3] * NAME(hyperbolic_tangent)(cells[row]);
}

static INLINE void NAME(finish)(const LAYER *layer, VECTOR sums[][4], int rows, PLACE place, int64_t direction, int64_t panel) {
    const int64_t hidden = layer->hidden_size, width = layer->directions * hidden, unit = panel * LANES, count = hidden - unit;
    const int64_t column = direction * hidden + unit;
    VECTOR cells[2] = {0}, states[2];
    if (place.has_before) {
        UNROLL for (int row = 0; row < rows; row++)
            cells[row] = NAME(load)((const REAL *)layer->cells + (place.before + row) * width + column, count);
    }
    NAME(advance)(sums, rows, cells, states);
    UNROLL for (int row = 0; row < rows; row++) {
        NAME(store)((REAL *)layer->cells + (place.at + row) * width + column, cells[row], count);
        NAME(store)((REAL *)layer->states + (place.at + row) * width + column, states[row], count);
        if (layer->gates) {
            REAL *gates = (REAL *)layer->gates + ((place.at + row) * layer->directions + direction) * 4 * hidden + unit;
            for (int gate = 0; gate < 4; gate++) NAME(store)(gates + gate * hidden, sums[row][gate], count);
        }
    }
}

/* The gates, cells and states of a panel, for some rows. */
static INLINE void NAME(forward_tile)(const LAYER *layer, int rows, PLACE place, int64_t direction, int64_t panel) {
    const int64_t inputs = layer->input_size, hidden = layer->hidden_size, width = layer->directions * hidden;
    const int64_t panels = (hidden + LANES - 1) / LANES, depth = inputs + hidden;
    const REAL *weights = (const REAL *)layer->weights + ((direction * panels + panel) * depth + inputs) * 4 * LANES;
    VECTOR sums[ROWS][4];
    if (layer->projections) {
        UNROLL for (int row = 0; row < rows; row++) {
            const REAL *from = NAME(projection)(layer, place.at + row, direction, panel);
            for (int gate = 0; gate < 4; gate++) sums[row][gate] = NAME(load)(from + gate * LANES, LANES);
        }
        for (int row = 0; row < rows; row++) { /* the next rows', anywhere in memory, while these are multiplied */
            const int64_t next = least(place.at + row + rows, layer->starts[layer->steps] - 1);
            const REAL *from = NAME(projection)(layer, next, direction, panel);
            for (int gate = 0; gate < 4; gate++) __builtin_prefetch(from + gate * LANES);
        }
    } else
        NAME(project)(layer, sums, rows, place.at, direction, panel);
    if (place.has_before)
        NAME(multiply)(sums, rows, (const REAL *)layer->states + place.before * width + direction * hidden, width, 1, weights,
                       4 * LANES, hidden);
    UNROLL for (int row = 0; row < rows; row += 2)
        NAME(finish)(layer, sums + row, rows - row > 1 ? 2 : 1, NAME(shifted)(place, row), direction, panel);
}

static void NAME(forward_rows)(const LAYER *layer, int64_t rows, PLACE place, int64_t direction, int64_t panel) {
#define TILE(n, first) NAME(forward_tile)(layer, n, NAME(shifted)(place, first), direction, panel)
    EACH_TILE(rows, TILE)
#undef TILE
}

static int NAME(forward_unit)(const LAYER *layer, int64_t number) {
    const int64_t direction = number % layer->directions, first = number / layer->directions * layer->block;
    for (int64_t turn = 0; turn < layer->steps; turn++) {
        const int64_t step = direction ? layer->steps - 1 - turn : turn, earlier = direction ? step + 1 : step - 1;
        const int64_t rows = rows_at(layer, step, first), old = turn ? least(rows, rows_at(layer, earlier, first)) : 0;
        const PLACE place = {layer->starts[step] + first, turn ? layer->starts[earlier] + first : 0, 0, 1, 0};
        PLACE new = NAME(shifted)(place, old); /* sequences that begin here, read from their ends */
        new.has_before = 0;
        for (int64_t panel = 0; panel * LANES < layer->hidden_size; panel++) {
            NAME(forward_rows)(layer, old, place, direction, panel);
            NAME(forward_rows)(layer, rows - old, new, direction, panel);
        }
    }
    return 1;
}

static INLINE void NAME(projection_tile)(const LAYER *layer, int rows, int64_t at, int64_t direction, int64_t panel) {
    const int64_t panels = (layer->hidden_size + LANES - 1) / LANES, pitch = layer->directions * panels * 4 * LANES;
    REAL *to = (REAL *)layer->projections + at * pitch + (direction * panels + panel) * 4 * LANES;
    VECTOR sums[ROWS][4];
    NAME(project)(layer, sums, rows, at, direction, panel);
    UNROLL for (int row = 0; row < rows; row++)
        for (int gate = 0; gate < 4; gate++) NAME(store)(to + row * pitch + gate * LANES, sums[row][gate], LANES);
}

/* A block of rows of inputs, whatever their time: each is added up in the order in which `forward_unit` would have. */
static int NAME(projection_unit)(const LAYER *layer, int64_t number) {
    const int64_t first = number * layer->block, rows = least(layer->block, layer->rows - first);
    for (int64_t direction = 0; direction < layer->directions; direction++)
        for (int64_t panel = 0; panel * LANES < layer->hidden_size; panel++) {
#define TILE(n, from) NAME(projection_tile)(layer, n, first + (from), direction, panel)
            EACH_TILE(rows, TILE)
#undef TILE
        }
    return 1;
}

/* What rows of a matrix that is multiplied by hold, filled up to whole tiles. */
static INLINE int64_t NAME(columns)(int64_t size) { return (size + 4 * LANES - 1) / (4 * LANES) * 4 * LANES; }

/* The gradients of gates of four vectors of units, for some rows; `carry` has those of their cells, [rows, columns]:

   dh_t = (that of the state from outside) + dgates_{t+1} U,  dc_t = dh_t o (1 - tanh(c_t)^2) + dc_{t+1} f_{t+1},
   and each gate's by the derivative of its function (Graves & Schmidhuber 2005, appendix A). */
static INLINE void NAME(backward_tile)(const LAYER *layer, REAL *carry, int rows, PLACE place, int64_t direction,
                                       int64_t unit) {
    const int64_t hidden = layer->hidden_size, width = layer->directions * hidden, columns = NAME(columns)(hidden);
    const int64_t column = direction * hidden + unit, back = (place.before - place.at) * width;
    const REAL *cells = (const REAL *)layer->cells + place.at * width + column;
    const REAL *outside = (const REAL *)layer->outside + place.at * width + column;
    REAL *all_gates = (REAL *)layer->gates + (place.at * layer->directions + direction) * 4 * hidden + unit;
    VECTOR sums[ROWS][4];
    for (int row = 0; row < rows; row++) /* what is needed after the product comes from memory meanwhile */
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

/* Rows that wait until there are enough to add their products to the gradients of the weights: those of the gates, and of
   what went in, the inputs and states before. They lie in memory so that what a tile reads fits the smallest cache: at a
   distance of a power of two they would drive each other out. */
typedef struct {
    int64_t rows, columns, pitch;
    REAL *gates;   /* [WAITING, pitch], of which 4 * hidden_size are used */
    REAL *inputs;  /* [columns / (4 * LANES), WAITING, 4 * LANES], of which input_size + hidden_size are used */
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

/* dW = dgates^T x, dU = dgates^T h_{t-1}, each step's added. */
static void NAME(add_products)(NAME(waiting) *waiting, int64_t depth) {
    for (int64_t column = 0; column < waiting->columns; column += 4 * LANES) {
#define TILE(n, first) NAME(weight_tile)(waiting, n, first, column)
        EACH_TILE(depth, TILE)
#undef TILE
    }
    waiting->rows = 0;
}

/* Write values, 0 where there are none, from a column on. */
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
    REAL *mine = waiting->gates + waiting->rows * waiting->pitch;
    for (int64_t gate = 0; gate < 4 * hidden; gate++) {
        mine[gate] = gates[gate];
        waiting->biases[gate] += gates[gate];
    }
    NAME(wait)(waiting, (const REAL *)layer->inputs + place.at * inputs, 0, inputs);
    NAME(wait)(waiting, place.has_before ? states : NULL, inputs, hidden);
    if (++waiting->rows == WAITING) NAME(add_products)(waiting, 4 * hidden);
}

/* A step's gradients, those of the gates first. The rows are those with a step before and one after, with one of the two, and
   with none; of the middle ones all have the same. */
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

#if defined(TILES) && !EXACT
#include "lstm_amx.h"
#endif

#undef VECTOR
#undef LANES
#undef PLACE
