/* Averages: the requantised sums of windows; padding counts as zeros. */
static inline void pool_average(const window *size, const uint8_t *in, int32_t in_zero, int32_t multiplier,
                                uint32_t shift, int32_t out_zero, int32_t out_top, uint8_t *out)
{
    for (int32_t y = 0; y < size->out_height; y++) {
        for (int32_t x = 0; x < size->out_width; x++) {
            for (int32_t c = 0; c < size->channels; c++) {
                int32_t sum = 0;
                for (int32_t ky = 0; ky < size->kernel_height; ky++) {
                    int32_t row = y * size->stride_y + ky * size->dilation_y - size->pad_top;
                    for (int32_t kx = 0; kx < size->kernel_width; kx++) {
                        int32_t place = x * size->stride_x + kx * size->dilation_x - size->pad_left;
                        if (row >= 0 && row < size->height && place >= 0 && place < size->width) {
                            sum += (int32_t)in[(row * size->width + place) * size->channels + c] - in_zero;
                        }
                    }
                }
                *out++ = requantise(sum, multiplier, shift, out_zero, out_top);
            }
        }
    }
}

/* Maxima; padding is never one. */
static inline void pool_max(const window *size, const uint8_t *in, uint8_t *out)
{
    for (int32_t y = 0; y < size->out_height; y++) {
        for (int32_t x = 0; x < size->out_width; x++) {
            for (int32_t c = 0; c < size->channels; c++) {
                uint8_t largest = 0u;
                for (int32_t ky = 0; ky < size->kernel_height; ky++) {
                    int32_t row = y * size->stride_y + ky * size->dilation_y - size->pad_top;
                    for (int32_t kx = 0; kx < size->kernel_width; kx++) {
                        int32_t place = x * size->stride_x + kx * size->dilation_x - size->pad_left;
                        if (row >= 0 && row < size->height && place >= 0 && place < size->width) {
                            uint8_t value = in[(row * size->width + place) * size->channels + c];
                            largest = value > largest ? value : largest;
                        }
                    }
                }
                *out++ = largest;
            }
        }
    }
}
