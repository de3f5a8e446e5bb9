/* The sum of two maps, each on its own grid; both multipliers have one shift. With `fraction` bits behind the point,
 * a * scales[0] + b * scales[1] + offset is the result and a half, off by less than `doubtful / 2` units. */
typedef struct {
    int32_t count, zero_points[2], multipliers[2];
    uint32_t shift;
    int32_t scales[2], offset;
    uint32_t fraction, mask, doubtful;
    int32_t zero_point, top;
} addition;

static inline int8_t add_exactly(const addition *layer, int32_t first, int32_t second)
{
    int64_t sum = (int64_t)(first - layer->zero_points[0]) * layer->multipliers[0] +
                  (int64_t)(second - layer->zero_points[1]) * layer->multipliers[1];
    uint64_t whole = shift_half_even((uint64_t)(sum < 0 ? -sum : sum), layer->shift);
    int32_t size = whole > 0xFFFFu ? 0xFFFF : (int32_t)whole;
    return limited((sum < 0 ? -size : size) + layer->zero_point, layer->top);
}

static inline int8_t add_one(const addition *layer, int32_t first, int32_t second)
{
    int32_t result = first * layer->scales[0] + second * layer->scales[1] + layer->offset;
    if (((uint32_t)result & layer->mask) <= layer->doubtful) {
        return add_exactly(layer, first, second);
    }
    return limited(result >> layer->fraction, layer->top);
}

static inline void add(const addition *layer, const int8_t *first, const int8_t *second, int8_t *out)
{
    int32_t i = 0;
#if defined(OFFRAMP_HELIUM)
    for (; i + 4 <= layer->count; i += 4) {
        int32x4_t result = vaddq_n_s32(vmulq_n_s32(vldrbq_s32(first + i), layer->scales[0]), layer->offset);
        result = vmlaq_n_s32(result, vldrbq_s32(second + i), layer->scales[1]);
        uint32x4_t rest = vandq_u32(vreinterpretq_u32_s32(result), vdupq_n_u32(layer->mask));
        if (vcmphiq_n_u32(rest, layer->doubtful) != 0xFFFFu) {
            for (int32_t k = i; k < i + 4; k++) {
                out[k] = add_one(layer, (int32_t)first[k], (int32_t)second[k]);
            }
            continue;
        }
        result = vshlq_r_s32(result, -(int32_t)layer->fraction);
        vstrbq_s32(out + i, vminq_s32(vmaxq_s32(result, vdupq_n_s32(-128)), vdupq_n_s32(layer->top)));
    }
#endif
    for (; i < layer->count; i++) {
        out[i] = add_one(layer, (int32_t)first[i], (int32_t)second[i]);
    }
}

/* The values of a map on another grid. */
static inline void change_grid(const int8_t *in, int32_t count, int32_t in_zero, int32_t scale, uint8_t shift,
                               const rescaling *to, int8_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = rescale((int32_t)in[i] - in_zero, scale, &shift, to);
    }
}
