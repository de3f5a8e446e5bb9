/* A convolution of its own for each channel; the weights lie as (kernel height, kernel width, channels). */
static inline void convolve_depthwise(const convolution *layer, const uint8_t *in, uint8_t *out)
{
    const window *size = &layer->size;
    for (int32_t y = 0; y < size->out_height; y++) {
        for (int32_t x = 0; x < size->out_width; x++) {
            for (int32_t c = 0; c < size->channels; c++) {
                int32_t sum = layer->bias[c];
                for (int32_t ky = 0; ky < size->kernel_height; ky++) {
                    int32_t row = y * size->stride_y + ky * size->dilation_y - size->pad_top;
                    if (row < 0 || row >= size->height) {
                        continue;
                    }
                    for (int32_t kx = 0; kx < size->kernel_width; kx++) {
                        int32_t place = x * size->stride_x + kx * size->dilation_x - size->pad_left;
                        if (place < 0 || place >= size->width) {
                            continue;
                        }
                        sum += (int32_t)layer->weight[(ky * size->kernel_width + kx) * size->channels + c] *
                               ((int32_t)in[(row * size->width + place) * size->channels + c] - layer->in_zero);
                    }
                }
                *out++ = requantise(sum, layer->multiplier[c], layer->shift[c], layer->out_zero, layer->out_top);
            }
        }
    }
}
