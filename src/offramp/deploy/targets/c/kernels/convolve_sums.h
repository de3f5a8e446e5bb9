/* The sums themselves: the logits of an exit, whose map is one pixel. */
static inline void convolve_sums(const convolution *layer, const uint8_t *in, int16_t *columns, int32_t *out)
{
    const window *size = &layer->size;
    int32_t length = size->kernel_height * size->kernel_width * (size->channels / layer->groups);
    int32_t count = size->out_channels / layer->groups;
    for (int32_t group = 0; group < layer->groups; group++) {
        collect(layer, in, 0, 0, group, columns);
        for (int32_t c = group * count; c < (group + 1) * count; c++) {
            out[c] = dot(layer->weight + c * length, columns, length, layer->bias[c]);
        }
    }
}
