/* The rows, or columns, of a window that lie in the map: from `*from` to below `*to`. */
static inline void clip_window(int32_t start, int32_t kernel, int32_t dilation, int32_t size, int32_t *from,
                               int32_t *to)
{
    *from = 0;
    *to = kernel;
    while (*from < kernel && start + *from * dilation < 0) {
        (*from)++;
    }
    while (*to > *from && start + (*to - 1) * dilation >= size) {
        (*to)--;
    }
}

/* Adds `count` pixels to the sums of at most four channels. */
static inline void sum_pixels(const int8_t *from, int32_t step, int32_t count, int32_t live, int32_t *sums)
{
    if (live < 4) {
        for (int32_t k = 0; k < count; k++, from += step) {
            for (int32_t i = 0; i < live; i++) {
                sums[i] += (int32_t)from[i];
            }
        }
        return;
    }
#if defined(OFFRAMP_HELIUM)
    int32x4_t total = vldrwq_s32(sums);
    for (int32_t k = 0; k < count; k++, from += step) {
        total = vaddq_s32(total, vldrbq_s32(from));
    }
    vstrwq_s32(sums, total);
#else
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
    for (int32_t k = 0; k < count; k++, from += step) {
        a += (int32_t)from[0];
        b += (int32_t)from[1];
        c += (int32_t)from[2];
        d += (int32_t)from[3];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
#endif
}

/* Averages: the requantised sums of windows; padding counts as zeros. */
static inline void pool_average(const window *size, const int8_t *in, int32_t in_zero, int32_t scale, uint8_t shift,
                                const rescaling *to, int8_t *out)
{
    int32_t channels = size->channels;
    for (int32_t place = 0; place < size->out_height * size->out_width; place++) {
        int32_t row = place / size->out_width * size->stride_y - size->pad_top;
        int32_t left = place % size->out_width * size->stride_x - size->pad_left;
        int32_t top;
        int32_t bottom;
        int32_t first;
        int32_t last;
        clip_window(row, size->kernel_height, size->dilation_y, size->height, &top, &bottom);
        clip_window(left, size->kernel_width, size->dilation_x, size->width, &first, &last);
        int32_t zeros = (bottom - top) * (last - first) * in_zero;
        for (int32_t c = 0; c < channels; c += 4) {
            int32_t live = channels - c < 4 ? channels - c : 4;
            int32_t sums[4] = {-zeros, -zeros, -zeros, -zeros};
            for (int32_t ky = top; ky < bottom; ky++) {
                const int8_t *from = in + ((row + ky * size->dilation_y) * size->width + left +
                                           first * size->dilation_x) * channels + c;
                sum_pixels(from, size->dilation_x * channels, last - first, live, sums);
            }
            for (int32_t i = 0; i < live; i++) {
                out[c + i] = rescale(sums[i], scale, &shift, to);
            }
        }
        out += channels;
    }
}

/* Maxima; padding is never one. */
static inline void pool_max(const window *size, const int8_t *in, int8_t *out)
{
    int32_t channels = size->channels;
    for (int32_t place = 0; place < size->out_height * size->out_width; place++) {
        int32_t row = place / size->out_width * size->stride_y - size->pad_top;
        int32_t left = place % size->out_width * size->stride_x - size->pad_left;
        int32_t top;
        int32_t bottom;
        int32_t first;
        int32_t last;
        clip_window(row, size->kernel_height, size->dilation_y, size->height, &top, &bottom);
        clip_window(left, size->kernel_width, size->dilation_x, size->width, &first, &last);
        (void)memset(out, -128, (size_t)channels);
        for (int32_t ky = top; ky < bottom; ky++) {
            for (int32_t kx = first; kx < last; kx++) {
                const int8_t *from =
                    in + ((row + ky * size->dilation_y) * size->width + left + kx * size->dilation_x) * channels;
                for (int32_t c = 0; c < channels; c++) {
                    out[c] = from[c] > out[c] ? from[c] : out[c];
                }
            }
        }
        out += channels;
    }
}
