/* One channel of one place. */
static inline int32_t depthwise_one(const window *size, const int8_t *weight, const int8_t *in, int32_t row,
                                    int32_t left, int32_t zero, int32_t sum)
{
    for (int32_t ky = 0; ky < size->kernel_height; ky++, row += size->dilation_y) {
        int32_t place = left;
        for (int32_t kx = 0; kx < size->kernel_width; kx++, place += size->dilation_x, weight += size->channels) {
            int32_t inside = row >= 0 && row < size->height && place >= 0 && place < size->width ? 1 : 0;
            sum += (int32_t)*weight * (inside != 0 ? (int32_t)in[(row * size->width + place) * size->channels] : zero);
        }
    }
    return sum;
}

/* Four neighbouring channels of one place; sums[4] begin with the biases. */
static inline void depthwise_four(const window *size, const int8_t *weight, const int8_t *in, int32_t row, int32_t left,
                                  int32_t zero, int32_t *sums)
{
#if defined(OFFRAMP_HELIUM)
    int32x4_t total = vldrwq_s32(sums);
#else
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
#endif
    for (int32_t ky = 0; ky < size->kernel_height; ky++, row += size->dilation_y) {
        int32_t place = left;
        for (int32_t kx = 0; kx < size->kernel_width; kx++, place += size->dilation_x, weight += size->channels) {
            int32_t inside = row >= 0 && row < size->height && place >= 0 && place < size->width ? 1 : 0;
            const int8_t *from = in + (inside != 0 ? (row * size->width + place) * size->channels : 0);
#if defined(OFFRAMP_HELIUM)
            int32x4_t x = inside != 0 ? vldrbq_s32(from) : vdupq_n_s32(zero);
            total = vaddq_s32(total, vmulq_s32(x, vldrbq_s32(weight)));
#elif defined(OFFRAMP_DSP)
            uint32_t w = read_word(weight);
            uint32_t x = inside != 0 ? read_word(from) : (uint32_t)(zero & 0xFF) * 0x01010101u;
            uint32_t w_even = even_halves(w);
            uint32_t x_even = even_halves(x);
            w = odd_halves(w);
            x = odd_halves(x);
            a = __smlabb((int32_t)w_even, (int32_t)x_even, a);
            c = __smlatt((int32_t)w_even, (int32_t)x_even, c);
            b = __smlabb((int32_t)w, (int32_t)x, b);
            d = __smlatt((int32_t)w, (int32_t)x, d);
#else
            a += (int32_t)weight[0] * (inside != 0 ? (int32_t)from[0] : zero);
            b += (int32_t)weight[1] * (inside != 0 ? (int32_t)from[1] : zero);
            c += (int32_t)weight[2] * (inside != 0 ? (int32_t)from[2] : zero);
            d += (int32_t)weight[3] * (inside != 0 ? (int32_t)from[3] : zero);
#endif
        }
    }
#if defined(OFFRAMP_HELIUM)
    vstrwq_s32(sums, total);
#else
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
#endif
}

/* A convolution of its own for each channel; the weights lie as (kernel height, kernel width, channels). */
static inline void convolve_depthwise(const convolution *layer, const int8_t *in, column_t *columns, int8_t *out)
{
    const window *size = &layer->size;
    int32_t channels = size->channels;
    int32_t block = channels < 4 ? 1 : 4;
    const int8_t *weight = layer->weight;
    if (layer->bits < 8) {
        unpack((const uint8_t *)layer->weight, layer->bits, layer->length, (int8_t *)columns);
        weight = (const int8_t *)columns;
    }
    for (int32_t place = 0; place < size->out_height * size->out_width; place++) {
        int32_t row = place / size->out_width * size->stride_y - size->pad_top;
        int32_t left = place % size->out_width * size->stride_x - size->pad_left;
        for (int32_t start = 0; start < channels; start += block) {
            int32_t c = start + block > channels ? channels - block : start;
            int32_t sums[4] = {0, 0, 0, 0};
            for (int32_t i = 0; i < block; i++) {
                sums[i] = layer->bias[c + i];
            }
            if (block == 1) {
                sums[0] = depthwise_one(size, weight + c, in + c, row, left, layer->in_zero, sums[0]);
            } else {
                depthwise_four(size, weight + c, in + c, row, left, layer->in_zero, sums);
            }
#if defined(OFFRAMP_HELIUM)
            rescale_four(sums, layer->scale + c, layer->shift + c, block, &layer->to, out + c);
#else
            for (int32_t i = 0; i < block; i++) {
                out[c + i] = rescale(sums[i], layer->scale[c + i], &layer->shift[c + i], &layer->to);
            }
#endif
        }
        out += channels;
    }
}
