PREFIX_settings_t PREFIX_settings = {@SETTINGS@};

typedef struct {
    uint64_t doubts;
    int32_t last;
    int32_t agreeing;
} decision_state;

void PREFIX_set_pixels(const uint8_t *pixels)
{
    int8_t *to = arena + @IMAGE@;
    for (int32_t i = 0; i < PREFIX_HEIGHT * PREFIX_WIDTH; i++) {
        for (int32_t c = 0; c < PREFIX_CHANNELS; c++) {
            *to++ = pixel_table[c][*pixels++];
        }
    }
}

void PREFIX_set_values(const uint8_t *values)
{
    int8_t *to = arena + @IMAGE@;
    for (int32_t i = 0; i < PREFIX_HEIGHT * PREFIX_WIDTH * PREFIX_CHANNELS; i++) {
        to[i] = (int8_t)((int32_t)values[i] - 128);
    }
}

void PREFIX_set_temperature(int32_t exit, uint32_t temperature_q16)
{
    /* log2 e with 62 fraction bits, divided by the temperature. */
    uint64_t quotient = UINT64_C(6653256548922161245) / (temperature_q16 == 0u ? 1u : temperature_q16);
    int32_t exponent = 46;
    while (quotient > 0xFFFFFFFFu) {
        quotient >>= 1;
        exponent--;
    }
    while (quotient < 0x80000000u) {
        quotient <<= 1;
        exponent++;
    }
    PREFIX_settings.scale_mantissa[exit] = (uint32_t)quotient;
    PREFIX_settings.scale_exponent[exit] = exponent;
}

/* Fills in the result of an exit, and says whether the sample leaves there. */
static int leaves(int32_t exit, PREFIX_result *result, decision_state *state)
{
    const PREFIX_settings_t *settings = &PREFIX_settings;
    int32_t best = predicted_class(result->sums, &logit_scales[exit], PREFIX_CLASSES);
    uint64_t doubt = doubt_of(result->sums, &logit_scales[exit], PREFIX_CLASSES, best, settings->measure,
                              settings->scale_mantissa[exit], settings->scale_exponent[exit], INVERSE_LOG);
    int64_t limit;
    result->exit = exit;
    result->class_index = best;
    result->doubt = doubt;
    if (exit == PREFIX_EXITS - 1) {
        return 1;
    }
    if (settings->rule == PREFIX_RULE_PATIENCE) {
        state->agreeing = best == state->last ? state->agreeing + 1 : 1;
        state->last = best;
        return state->agreeing >= settings->agreeing;
    }
    if (settings->rule == PREFIX_RULE_CUMULATIVE) {
        state->doubts = product_48(state->doubts, doubt);
        doubt = state->doubts;
    }
    limit = settings->limit[exit];
    if (settings->class_offsets != NULL) {
        limit += settings->class_offsets[exit * PREFIX_CLASSES + best];
    }
    return (int64_t)doubt <= limit;
}

static int32_t run_stages(PREFIX_result *result)
{
    decision_state state = {ONE_48, -1, 0};
@STAGES@
    return result->exit;
}

int32_t PREFIX_run(const uint8_t *pixels, PREFIX_result *result)
{
    PREFIX_set_pixels(pixels);
    return run_stages(result);
}

int32_t PREFIX_run_values(const uint8_t *values, PREFIX_result *result)
{
    PREFIX_set_values(values);
    return run_stages(result);
}
