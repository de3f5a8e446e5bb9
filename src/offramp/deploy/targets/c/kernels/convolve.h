/* ROWS output channels from `channel` on at two places. */
static inline void convolve_block(const convolution *layer, const int8_t *rows, int32_t step, int32_t channel,
                                  const column_t *first, const column_t *second, int8_t *out, int8_t *second_out)
{
    int32_t next = step == 0 ? 0 : 1;
    const int32_t *bias = layer->bias + channel;
#if defined(OFFRAMP_HELIUM)
    int32_t live = step == 0 ? 1 : ROWS;
    int32_t sums[ROWS] = {bias[0], bias[next], bias[2 * next], bias[3 * next]};
    multiply_one(rows, step, first, layer->length, sums);
    rescale_four(sums, layer->scale + channel, layer->shift + channel, live, &layer->to, out + channel);
    if (second_out != NULL) {
        int32_t others[ROWS] = {bias[0], bias[next], bias[2 * next], bias[3 * next]};
        multiply_one(rows, step, second, layer->length, others);
        rescale_four(others, layer->scale + channel, layer->shift + channel, live, &layer->to, second_out + channel);
    }
#else
    int32_t sums[2 * ROWS];
    for (int32_t i = 0; i < ROWS; i++) {
        sums[2 * i] = bias[next * i];
        sums[2 * i + 1] = bias[next * i];
    }
#if defined(OFFRAMP_DSP)
    (void)second;
    multiply(rows, step, first, layer->length, sums);
#else
    multiply(rows, step, first, second, layer->length, sums);
#endif
    for (int32_t i = 0; i < (step == 0 ? 1 : ROWS); i++) {
        int32_t c = channel + i;
        out[c] = rescale(sums[2 * i], layer->scale[c], &layer->shift[c], &layer->to);
        if (second_out != NULL) {
            second_out[c] = rescale(sums[2 * i + 1], layer->scale[c], &layer->shift[c], &layer->to);
        }
    }
#endif
}

/* The inputs of an output as a column: collected, or where they lie. With DSP, two columns lie in turn: of the second,
 * the column is that of the first. */
static inline const column_t *column_of(const convolution *layer, const int8_t *in, int32_t place, int32_t group,
                                        int32_t which, column_t *columns, int8_t *bytes)
{
    const window *size = &layer->size;
    int32_t y = place / size->out_width;
    int32_t x = place % size->out_width;
#if defined(OFFRAMP_DSP)
    column_t *pair = columns + which / 2 * 2 * layer->length;
    collect_bytes(layer, in, y, x, group, bytes);
    widen_values(pair + which % 2 * 2, bytes, layer->length, 2);
    return pair;
#else
    (void)bytes;
    if (size->kernel_height == 1 && size->kernel_width == 1 && size->stride_x == 1 && size->stride_y == 1 &&
        size->pad_top == 0 && size->pad_left == 0 && layer->groups == 1 && layer->length == size->channels) {
        return in + place * size->channels;
    }
    collect_bytes(layer, in, y, x, group, columns + which * layer->length);
    return columns + which * layer->length;
#endif
}

/* A convolution. Outputs whose inputs are collected together share each weight that is read. The last block of
 * channels may overlap with the one before. */
static inline void convolve(const convolution *layer, const int8_t *in, column_t *columns, int8_t *out)
{
    const window *size = &layer->size;
    int32_t count = size->out_channels / layer->groups;
    int32_t places = size->out_height * size->out_width;
    int32_t block = count < ROWS ? 1 : ROWS;
    int8_t *bytes = (int8_t *)(columns + layer->places * layer->length);
    int8_t *space = bytes + (sizeof(column_t) == 1u ? 0 : layer->length);
    for (int32_t start = 0; start < places; start += layer->places) {
        int32_t present = places - start < layer->places ? places - start : layer->places;
        for (int32_t group = 0; group < layer->groups; group++) {
            const column_t *column[MOST_PLACES];
            for (int32_t i = 0; i < present; i++) {
                column[i] = column_of(layer, in, start + i, group, i, columns, bytes);
            }
            for (int32_t c = 0; c < count; c += block) {
                int32_t channel = group * count + (c + block > count ? count - block : c);
                const int8_t *rows = weight_rows(layer, channel, block, space);
                for (int32_t i = 0; i < present; i += 2) {
                    int32_t pair = i + 1 < present ? 1 : 0;
                    int8_t *at = out + (start + i) * size->out_channels;
                    convolve_block(layer, rows, block == 1 ? 0 : layer->length, channel, column[i], column[i + pair],
                                   at, pair == 0 ? NULL : at + size->out_channels);
                }
            }
        }
    }
}
