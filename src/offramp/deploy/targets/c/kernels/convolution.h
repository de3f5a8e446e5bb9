typedef struct {
    window size;
    int32_t groups, in_zero;
    int32_t length; /* of a row of weights: the inputs of one output, filled up with zeros to a multiple of 4 */
    int32_t bits;   /* of a weight */
    int32_t places; /* outputs whose inputs are collected together */
    const int8_t *weight; /* (output channels, length), packed where a weight has fewer than 8 bits */
    const int32_t *bias;
    const int32_t *scale;
    const uint8_t *shift;
    rescaling to;
} convolution;

static inline void copy_values(int8_t *to, const int8_t *from, int32_t count)
{
#if defined(OFFRAMP_HELIUM)
    for (int32_t i = 0; i < count; i += 16) {
        mve_pred16_t live = vctp8q((uint32_t)(count - i));
        vstrbq_p_s8(to + i, vldrbq_z_s8(from + i, live), live);
    }
#else
    int32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        uint32_t word = read_word(from + i);
        (void)memcpy(to + i, &word, sizeof word);
    }
    for (; i < count; i++) {
        to[i] = from[i];
    }
#endif
}

static inline void fill_values(int8_t *to, int32_t value, int32_t count)
{
    (void)memset(to, (int)value, (size_t)count);
}

#if defined(OFFRAMP_DSP)
/* Four values in 16 bits each: the first and third, and after `step` words the second and fourth. Weights are taken
 * apart likewise. The words of two columns lie in turn. */
static inline void widen_values(int16_t *to, const int8_t *from, int32_t count, int32_t step)
{
    for (int32_t i = 0; i < count; i += 4) {
        uint32_t word = read_word(from + i);
        uint32_t half = even_halves(word);
        (void)memcpy(to, &half, sizeof half);
        half = odd_halves(word);
        (void)memcpy(to + 2 * step, &half, sizeof half);
        to += 4 * step;
    }
}
#endif

/* Collects the inputs of one output as bytes; padding is the zero point. */
static inline void collect_bytes(const convolution *layer, const int8_t *in, int32_t y, int32_t x, int32_t group,
                                 int8_t *bytes)
{
    const window *size = &layer->size;
    int32_t count = size->channels / layer->groups;
    int32_t left = x * size->stride_x - size->pad_left;
    int32_t row = y * size->stride_y - size->pad_top;
    for (int32_t ky = 0; ky < size->kernel_height; ky++, row += size->dilation_y) {
        int32_t width = size->kernel_width;
        if (row < 0 || row >= size->height) {
            fill_values(bytes, layer->in_zero, width * count);
            bytes += width * count;
        } else if (layer->groups == 1 && size->dilation_x == 1) {
            int32_t before = left < 0 ? (left < -width ? width : -left) : 0;
            int32_t behind = left + width > size->width ? left + width - size->width : 0;
            int32_t inside = width - before - behind;
            if (before + behind > 0) {
                fill_values(bytes, layer->in_zero, width * count);
            }
            if (inside > 0) {
                copy_values(bytes + before * count, in + (row * size->width + left + before) * count, inside * count);
            }
            bytes += width * count;
        } else {
            for (int32_t kx = 0; kx < width; kx++) {
                int32_t place = left + kx * size->dilation_x;
                if (place < 0 || place >= size->width) {
                    fill_values(bytes, layer->in_zero, count);
                } else {
                    copy_values(bytes, in + (row * size->width + place) * size->channels + group * count, count);
                }
                bytes += count;
            }
        }
    }
}

/* Packed weights as bytes: 4 or 2 bits each, the first in the lowest bits. */
static inline void unpack(const uint8_t *packed, int32_t bits, int32_t count, int8_t *out)
{
    if (bits == 4) {
        for (int32_t i = 0; i < count; i += 2) {
            int32_t both = (int32_t)*packed++;
            out[i] = (int8_t)((both & 7) - (both & 8));
            out[i + 1] = (int8_t)(((both >> 4) & 7) - ((both >> 4) & 8));
        }
    } else {
        for (int32_t i = 0; i < count; i += 4) {
            int32_t four = (int32_t)*packed++;
            for (int32_t k = 0; k < 4; k++) {
                out[i + k] = (int8_t)(((four >> (2 * k)) & 1) - ((four >> (2 * k)) & 2));
            }
        }
    }
}

/* `count` rows of weights from row `first`: where they lie, or unpacked into `space`. */
static inline const int8_t *weight_rows(const convolution *layer, int32_t first, int32_t count, int8_t *space)
{
    if (layer->bits == 8) {
        return layer->weight + first * layer->length;
    }
    unpack((const uint8_t *)layer->weight + first * layer->length * layer->bits / 8, layer->bits,
           count * layer->length, space);
    return space;
}
