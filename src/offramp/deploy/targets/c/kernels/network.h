/* @NAME@: a network that leaves early. Written by offramp @VERSION@; do not edit. */
#ifndef UPPER_NETWORK_H
#define UPPER_NETWORK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UPPER_EXITS @EXITS@
#define UPPER_CLASSES @CLASSES@

/* One sample: rows, columns, channels, in this order. */
#define UPPER_HEIGHT @HEIGHT@
#define UPPER_WIDTH @WIDTH@
#define UPPER_CHANNELS @CHANNELS@

/* A quantised input is x / step + zero point, rounded, halves to even, limited to 0..@TOP@. */
#define UPPER_INPUT_STEP @STEP@
#define UPPER_INPUT_ZERO_POINT @ZERO@
#define UPPER_INPUT_TOP @TOP@

/* RAM: the arena of all maps, at whose peak @LIVE@ bytes are in use, and the columns of convolutions. */
#define UPPER_ARENA_BYTES @ARENA@
#define UPPER_COLUMN_BYTES @COLUMNS@

#define UPPER_RULE_THRESHOLD 0
#define UPPER_RULE_CUMULATIVE 1
#define UPPER_RULE_PATIENCE 2
#define UPPER_MEASURE_MAX_PROBABILITY 0
#define UPPER_MEASURE_ENTROPY 1
#define UPPER_MEASURE_MARGIN 2

/* A number with 48 fraction bits; of constants, the compiler computes it. */
#define UPPER_FIXED(x) ((int64_t)((x) * 281474976710656.0))
/* The limit of a threshold: a sample leaves where its doubt, 1 - score, is at most this. */
#define UPPER_LIMIT(threshold) UPPER_FIXED(1.0 - (threshold))

/* What decides where a sample leaves; it can be changed between two runs. */
typedef struct {
    int32_t rule;                            /* UPPER_RULE_... */
    int32_t measure;                         /* UPPER_MEASURE_... */
    int32_t agreeing;                        /* patience: so many exits in a row must agree */
    int64_t limit[UPPER_EXITS];              /* UPPER_LIMIT of each early exit; the last is not used */
    uint32_t scale_mantissa[UPPER_EXITS];    /* log2 e / temperature = mantissa * 2^-exponent, */
    int32_t scale_exponent[UPPER_EXITS];     /* see PREFIX_set_temperature */
    const int64_t *class_offsets;            /* (early exits, classes), UPPER_FIXED each; or NULL */
} PREFIX_settings_t;

extern PREFIX_settings_t PREFIX_settings;

/* The answer for one sample. */
typedef struct {
    int32_t exit;                /* the exit that it left at, from 0 */
    int32_t class_index;         /* its class */
    uint64_t doubt;              /* 1 - confidence of this exit, with 48 fraction bits */
    int32_t sums[UPPER_CLASSES]; /* a logit is a sum times its step, see PREFIX_steps */
} PREFIX_result;

/* Steps of the sums, for those who want logits as floating-point numbers. The network does not read them. */
extern const float PREFIX_steps[UPPER_EXITS][UPPER_CLASSES];

/* Runs one sample of raw pixels, 0..255; gives the exit. */
int32_t PREFIX_run(const uint8_t *pixels, PREFIX_result *result);

/* Runs one sample of quantised inputs. */
int32_t PREFIX_run_values(const uint8_t *values, PREFIX_result *result);

/* Sets the temperature of an exit, with 16 fraction bits: 65536 is 1. */
void PREFIX_set_temperature(int32_t exit, uint32_t temperature_q16);

/* The parts of a run, for a scheduler of your own: set the input, then call the stages in order. */
void PREFIX_set_pixels(const uint8_t *pixels);
void PREFIX_set_values(const uint8_t *values);
@STAGES@
#ifdef __cplusplus
}
#endif

#endif
