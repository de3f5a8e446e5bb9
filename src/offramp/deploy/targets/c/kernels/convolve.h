/* Two outputs at a time share each weight that is read. */
static inline void convolve(const convolution *layer, const uint8_t *in, int16_t *columns, uint8_t *out)
{
    const window *size = &layer->size;
    int32_t length = size->kernel_height * size->kernel_width * (size->channels / layer->groups);
    int32_t count = size->out_channels / layer->groups;
    int32_t places = size->out_height * size->out_width;
    for (int32_t place = 0; place < places; place += 2) {
        int32_t pair = place + 1 < places ? 1 : 0;
        for (int32_t group = 0; group < layer->groups; group++) {
            collect(layer, in, place / size->out_width, place % size->out_width, group, columns);
            if (pair != 0) {
                collect(layer, in, (place + 1) / size->out_width, (place + 1) % size->out_width, group,
                        columns + length);
            }
            for (int32_t c = group * count; c < (group + 1) * count; c++) {
                const int8_t *weight = layer->weight + c * length;
                int32_t first = layer->bias[c];
                int32_t second = layer->bias[c];
                if (pair != 0) {
                    for (int32_t k = 0; k < length; k++) {
                        first += (int32_t)weight[k] * (int32_t)columns[k];
                        second += (int32_t)weight[k] * (int32_t)columns[length + k];
                    }
                    out[(place + 1) * size->out_channels + c] =
                        requantise(second, layer->multiplier[c], layer->shift[c], layer->out_zero, layer->out_top);
                } else {
                    first = dot(weight, columns, length, first);
                }
                out[place * size->out_channels + c] =
                    requantise(first, layer->multiplier[c], layer->shift[c], layer->out_zero, layer->out_top);
            }
        }
    }
}
