/* The passes forward: laying out the weights, multiplying the inputs, and the time loop of one unit of work.

   i, f, o = sigmoid(W x_t + U h_{t-1} + b), g = tanh(...), c_t = f c_{t-1} + i g, h_t = o tanh(c_t)
   (Hochreiter & Schmidhuber 1997, with the forget gates of Gers et al. 2000). */

/* The first row of some sequences at a step, and at the steps before and after it in the direction of reading. */
typedef struct {
    int64_t at, before, after;
    int has_before, has_after;
} NAME(place);
#define PLACE NAME(place)

static INLINE PLACE NAME(shifted)(PLACE place, int64_t rows) {
    place.at += rows, place.before += rows, place.after += rows;
    return place;
}

/* Write rows of matrices as the columns of a panel: row k of the panel has the k-th value of each row. */
static INLINE void NAME(interleave)(const REAL *from, int64_t size, const int64_t rows[4 * LANES], REAL *to) {
    for (int64_t start = 0; start < size; start += LANES) /* the lines of `to` stay in the cache */
        for (int64_t lane = 0; lane < 4 * LANES; lane++)
            for (int64_t k = start; k < least(start + LANES, size); k++)
                to[k * 4 * LANES + lane] = rows[lane] < 0 ? 0 : from[rows[lane] * size + k];
}

/* The weights and biases of a panel; panels are numbered direction by direction. */
static int NAME(layout_unit)(const LAYER *layer, int64_t number) {
    const int64_t inputs = layer->input_size, hidden = layer->hidden_size, panels = (hidden + LANES - 1) / LANES;
    const void *const *parameters = layer->parameters + number / panels * 4;
    REAL *weights = (REAL *)layer->weights + number * (inputs + hidden) * 4 * LANES;
    REAL *biases = (REAL *)layer->biases + number * 4 * LANES;
    int64_t rows[4 * LANES]; /* of the parameters; -1 for lanes without a unit */
    for (int64_t lane = 0; lane < 4 * LANES; lane++) {
        const int64_t unit = number % panels * LANES + lane % LANES;
        rows[lane] = unit < hidden ? lane / LANES * hidden + unit : -1;
        biases[lane] = rows[lane] < 0 ? 0 : ((const REAL *)parameters[2])[rows[lane]] + ((const REAL *)parameters[3])[rows[lane]];
    }
    NAME(interleave)(parameters[0], inputs, rows, weights);
    NAME(interleave)(parameters[1], hidden, rows, weights + inputs * 4 * LANES);
    return 1;
}

/* The sums of the gates of a panel, LANES units, before the state is added, for some rows. */
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

/* Compute the gates of a panel, in place of their sums, and its cells and states. The cells are those of the step before, 0 if there
   is none. Two rows at once keep the processor busy. The four gates share one division, by the product of their denominators. */
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
        VECTOR *gates = sums[row], *q = below[row]; /* i f g o */
        const VECTOR i_f = q[0] * q[1], g_o = q[2] * q[3], inverse = 1 / (i_f * g_o);
        gates[0] *= q[1] * (g_o * inverse), gates[1] *= q[0] * (g_o * inverse);
        gates[2] *= q[3] * (i_f * inverse), gates[3] *= q[2] * (i_f * inverse);
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
        for (int row = 0; row < rows; row++) { /* those of the next rows, anywhere in memory, arrive meanwhile */
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

/* Project a block of rows of inputs, whatever their time. Products are added up in the same order as in `forward_unit`. */
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
