/* Confidences in integers. A doubt is 1 - confidence, with 48 fraction bits: exact within 2^-28, and near 0 to about
 * 2^-26 of itself. */
#define ONE_48 ((uint64_t)1 << 48)

typedef struct {
    const int32_t *multiplier; /* float32 step of a sum: multiplier * 2^-shift, per class */
    const int8_t *rise;        /* from there to `bits` fraction bits: left shift, or right shift where negative */
    int32_t bits;
} logit_scale;

/* num / den as a number with 48 fraction bits. */
static inline uint64_t ratio_48(uint64_t num, uint64_t den)
{
    int32_t up = 0;
    int32_t down = 0;
    int32_t left;
    uint64_t quotient;
    if (num == 0u) {
        return 0u;
    }
    while (((num << up) >> 63) == 0u) {
        up++;
    }
    while ((den >> down) > 0xFFFFFFFFu) {
        down++;
    }
    quotient = (num << up) / (den >> down);
    left = 48 - down - up;
    if (left >= 0) {
        return quotient << left;
    }
    return left < -63 ? 0u : quotient >> -left;
}

/* The product of two numbers with 48 fraction bits, from 0 to 1. */
static inline uint64_t product_48(uint64_t a, uint64_t b)
{
    if (a >= ONE_48) {
        return b;
    }
    if (b >= ONE_48) {
        return a;
    }
    return (((a >> 32) * b) >> 16) + (((a & 0xFFFFFFFFu) * (b >> 16)) >> 32);
}

/* 2^-x with 48 fraction bits; x has 32. */
static inline uint64_t power_48(uint64_t x)
{
    static const uint32_t table[64] = {POWER_TABLE};
    uint32_t whole = (uint32_t)(x >> 32);
    uint64_t rest = x & 0x3FFFFFFu;
    uint64_t a = (rest * 2977044472u) >> 32; /* times ln 2 */
    uint64_t b = (a * a) >> 32;
    uint64_t c = (b * a) >> 32;
    uint64_t value = (uint64_t)table[(x >> 26) & 63u] * (((uint64_t)1 << 32) - a + b / 2u - c / 6u);
    return whole > 47u ? 0u : (value >> 15) >> whole;
}

/* log2 of a number >= 1 with 48 fraction bits. */
static inline uint64_t logarithm_48(uint64_t value)
{
    uint64_t result = 0u;
    uint32_t whole = 0u;
    uint64_t scaled;
    uint64_t more = value - ONE_48;
    if (more < ((uint64_t)1 << 37)) {
        uint64_t square = ((more >> 8) * (more >> 8)) >> 32;
        uint64_t cube = ((square >> 4) * (more >> 8)) >> 36;
        uint64_t natural = more - square / 2u + cube / 3u;
        return natural + (((natural >> 6) * 1901360723u) >> 26); /* times log2 e */
    }
    while ((value >> whole) >= 2u * ONE_48) {
        whole++;
    }
    scaled = (value >> whole) >> 17;
    for (uint32_t bit = 1u; bit <= 31u; bit++) {
        scaled = (scaled * scaled) >> 31;
        if (scaled >= ((uint64_t)1 << 32)) {
            scaled >>= 1;
            result |= ONE_48 >> bit;
        }
    }
    return ((uint64_t)whole << 48) + result;
}

/* A difference of logits, divided by the temperature, in units of ln 2 with 32 fraction bits. */
static inline uint64_t tempered(uint64_t difference, int32_t bits, uint32_t mantissa, int32_t exponent)
{
    uint64_t product = (difference >> 32) * mantissa + (((difference & 0xFFFFFFFFu) * mantissa) >> 32);
    int32_t right = bits + exponent - 64;
    if (right >= 0) {
        return right > 63 ? 0u : product >> right;
    }
    if (right < -63 || (product >> (64 + right)) != 0u) {
        return ~(uint64_t)0;
    }
    return product << -right;
}

/* The logit that a sum stands for: the float32 number, as an integer with `scale->bits` fraction bits. */
static inline int64_t scaled_logit(int32_t sum, const logit_scale *scale, int32_t index)
{
    uint64_t size = (uint64_t)(sum < 0 ? -(int64_t)sum : (int64_t)sum) * (uint64_t)scale->multiplier[index];
    int32_t rise = (int32_t)scale->rise[index];
    size = keep_24_bits(size);
    size = rise >= 0 ? size << rise : size >> -rise;
    return sum < 0 ? -(int64_t)size : (int64_t)size;
}

static inline int32_t predicted_class(const int32_t *sums, const logit_scale *scale, int32_t classes)
{
    int32_t best = 0;
    for (int32_t i = 1; i < classes; i++) {
        if (scaled_logit(sums[i], scale, i) > scaled_logit(sums[best], scale, best)) {
            best = i;
        }
    }
    return best;
}

/* 1 - confidence. Measures: 0 largest probability, 1 entropy, 2 margin. */
static inline uint64_t doubt_of(const int32_t *sums, const logit_scale *scale, int32_t classes, int32_t best,
                                int32_t measure, uint32_t mantissa, int32_t exponent, uint64_t inverse_log)
{
    int64_t largest = scaled_logit(sums[best], scale, best);
    uint64_t rest = 0u;
    uint64_t second = 0u;
    uint64_t spread = 0u;
    uint64_t doubt;
    for (int32_t i = 0; i < classes; i++) {
        if (i != best) {
            uint64_t x = tempered((uint64_t)(largest - scaled_logit(sums[i], scale, i)), scale->bits, mantissa, exponent);
            uint64_t power = power_48(x);
            rest += power;
            second = power > second ? power : second;
            if (power != 0u) {
                spread += (power >> 32) * x + ((((power & 0xFFFFFFFFu) >> 8) * x) >> 24);
            }
        }
    }
    if (measure == 0) {
        return ratio_48(rest, ONE_48 + rest);
    }
    if (measure == 2) {
        return ratio_48(rest + second, ONE_48 + rest);
    }
    doubt = ratio_48(spread, ONE_48 + rest) + logarithm_48(ONE_48 + rest);
    doubt = (doubt >> 32) * inverse_log + (((doubt & 0xFFFFFFFFu) * inverse_log) >> 32);
    return doubt > ONE_48 ? ONE_48 : doubt;
}
