/* The sums themselves: the logits of an exit, whose map is one pixel. */
static inline void convolve_sums(const convolution *layer, const int8_t *in, column_t *columns, int32_t *out)
{
    int32_t count = layer->size.out_channels / layer->groups;
    for (int32_t group = 0; group < layer->groups; group++) {
        int8_t *bytes = (int8_t *)(columns + layer->length);
#if defined(OFFRAMP_DSP)
        collect_bytes(layer, in, 0, 0, group, bytes);
        widen_values(columns, bytes, layer->length, 1);
#else
        collect_bytes(layer, in, 0, 0, group, columns);
#endif
        for (int32_t c = group * count; c < (group + 1) * count; c++) {
            const int8_t *row = weight_rows(layer, c, 1, bytes);
            out[c] = multiply_single(row, columns, layer->length, layer->bias[c]);
        }
    }
}
