/* Requantisation as the integer network does it: a product rounded to 24 significant bits, then to an integer, halves
 * to even. This is how float32 rounds, with integers alone. */
static inline uint64_t shift_half_even(uint64_t value, uint32_t shift)
{
    uint64_t whole = value >> shift;
    uint64_t rest = value - (whole << shift);
    uint64_t half = (uint64_t)1 << (shift - 1u);
    return whole + (uint64_t)(rest > half || (rest == half && (whole & 1u) != 0u));
}

static inline uint64_t keep_24_bits(uint64_t value)
{
    uint32_t surplus = 0u;
    while ((value >> surplus) > 0xFFFFFFu) {
        surplus++;
    }
    return surplus == 0u ? value : shift_half_even(value, surplus) << surplus;
}

/* Maps hold integers from -128 to 127: what the bundle calls 0 is -128 here. */
static inline int8_t limited(int32_t value, int32_t top)
{
    return (int8_t)(value < -128 ? -128 : (value > top ? top : value));
}

static inline int32_t requantise(int32_t sum, int32_t multiplier, uint32_t shift)
{
    uint64_t size = (uint64_t)(sum < 0 ? -(int64_t)sum : (int64_t)sum);
    uint64_t product = keep_24_bits(keep_24_bits(size) * (uint64_t)multiplier);
    uint64_t whole = shift_half_even(product, shift);
    if (whole > 0xFFFFu) {
        whole = 0xFFFFu;
    }
    return sum < 0 ? -(int32_t)whole : (int32_t)whole;
}

/* From sums to the integers of a map. The upper 32 bits of (sum << lift) * scale are the result with `fraction` bits
 * behind the point, off by less than `doubtful / 2` units. Only where this may change how it is rounded, the exact way
 * is taken. */
typedef struct {
    uint32_t lift, fraction;
    uint32_t mask, doubtful; /* of the bits behind the point */
    int32_t offset;          /* the zero point and a half, with these bits */
    int32_t zero_point, top;
    uint32_t base; /* multiplier = scale >> (base - shift); 0 where the scales are the multipliers themselves */
} rescaling;

static inline int32_t upper_product(int32_t sum, int32_t scale, uint32_t lift)
{
    return (int32_t)(((int64_t)(int32_t)((uint32_t)sum << lift) * scale) >> 32);
}

static inline int8_t rescale_exactly(int32_t sum, int32_t scale, uint32_t shift, const rescaling *to)
{
    int32_t multiplier = to->base == 0u ? scale : scale >> (to->base - shift);
    return limited(requantise(sum, multiplier, shift) + to->zero_point, to->top);
}

static inline int8_t rescale(int32_t sum, int32_t scale, const uint8_t *shift, const rescaling *to)
{
    int32_t result = upper_product(sum, scale, to->lift) + to->offset;
    if (((uint32_t)result & to->mask) <= to->doubtful) {
        return rescale_exactly(sum, scale, *shift, to);
    }
    return limited(result >> to->fraction, to->top);
}

#if defined(OFFRAMP_HELIUM)
/* The same for four channels, of which `count` are written. */
static inline void rescale_four(const int32_t *sums, const int32_t *scale, const uint8_t *shift, int32_t count,
                                const rescaling *to, int8_t *out)
{
    mve_pred16_t live = vctp32q((uint32_t)count);
    int32x4_t lifted = vshlq_r_s32(vldrwq_s32(sums), (int32_t)to->lift);
    int32x4_t result = vaddq_n_s32(vmulhq_s32(lifted, vldrwq_z_s32(scale, live)), to->offset);
    uint32x4_t rest = vandq_u32(vreinterpretq_u32_s32(result), vdupq_n_u32(to->mask));
    if (vcmphiq_m_n_u32(rest, to->doubtful, live) != live) {
        for (int32_t i = 0; i < count; i++) {
            out[i] = rescale(sums[i], scale[i], &shift[i], to);
        }
        return;
    }
    result = vshlq_r_s32(result, -(int32_t)to->fraction);
    result = vminq_s32(vmaxq_s32(result, vdupq_n_s32(-128)), vdupq_n_s32(to->top));
    vstrbq_p_s32(out, result, live);
}
#endif
