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

static inline uint8_t limited(int32_t value, int32_t zero_point, int32_t top)
{
    int32_t sum = value + zero_point;
    return (uint8_t)(sum < 0 ? 0 : (sum > top ? top : sum));
}

static inline uint8_t requantise(int32_t sum, int32_t multiplier, uint32_t shift, int32_t zero_point, int32_t top)
{
    uint64_t size = (uint64_t)(sum < 0 ? -(int64_t)sum : (int64_t)sum);
    uint64_t product = (size > 0xFFFFFFu ? keep_24_bits(size) : size) * (uint64_t)multiplier;
    uint64_t whole = product >> shift;
    uint64_t rest = product - (whole << shift);
    uint64_t half = (uint64_t)1 << (shift - 1u);
    /* Rounding to 24 bits moves the product by less than a part in 2^24: it matters next to a half alone. */
    if ((rest > half ? rest - half : half - rest) <= (product >> 24)) {
        whole = shift_half_even(keep_24_bits(product), shift);
    } else {
        whole += (uint64_t)(rest > half);
    }
    if (whole > 0xFFFFu) {
        whole = 0xFFFFu;
    }
    return limited(sum < 0 ? -(int32_t)whole : (int32_t)whole, zero_point, top);
}
