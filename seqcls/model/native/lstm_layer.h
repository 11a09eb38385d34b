/* All passes of an LSTM layer for one type of numbers: lstm.c includes this once per type. */

#include "lstm_vectors.h"
#include "lstm_forward.h"
#include "lstm_backward.h"
#if defined(TILES) && !EXACT
#include "lstm_amx.h"
#endif

#undef VECTOR
#undef LANES
#undef PLACE
