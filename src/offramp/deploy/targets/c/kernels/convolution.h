typedef struct {
    window size;
    int32_t groups, in_zero, out_zero, out_top;
    const int8_t *weight; /* (output channels, kernel height, kernel width, channels of a group) */
    const int32_t *bias;
    const int32_t *multiplier;
    const uint8_t *shift;
} convolution;

/* Collects the inputs of one output, relative to the zero point; padding is 0. */
static inline void collect(const convolution *layer, const uint8_t *in, int32_t y, int32_t x, int32_t group,
                           int16_t *column)
{
    const window *size = &layer->size;
    int32_t count = size->channels / layer->groups;
    for (int32_t ky = 0; ky < size->kernel_height; ky++) {
        int32_t row = y * size->stride_y + ky * size->dilation_y - size->pad_top;
        for (int32_t kx = 0; kx < size->kernel_width; kx++) {
            int32_t place = x * size->stride_x + kx * size->dilation_x - size->pad_left;
            if (row < 0 || row >= size->height || place < 0 || place >= size->width) {
                (void)memset(column, 0, (size_t)count * sizeof(int16_t));
            } else {
                const uint8_t *from = in + (row * size->width + place) * size->channels + group * count;
                for (int32_t c = 0; c < count; c++) {
                    column[c] = (int16_t)((int32_t)from[c] - layer->in_zero);
                }
            }
            column += count;
        }
    }
}

static inline int32_t dot(const int8_t *weight, const int16_t *column, int32_t count, int32_t sum)
{
    for (int32_t k = 0; k < count; k++) {
        sum += (int32_t)weight[k] * (int32_t)column[k];
    }
    return sum;
}
