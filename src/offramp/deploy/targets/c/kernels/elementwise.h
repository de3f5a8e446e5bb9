/* The sum of two maps, each on its own grid; both multipliers have one shift. */
static inline void add(const uint8_t *first, const uint8_t *second, int32_t count, int32_t first_zero,
                       int32_t second_zero, int32_t first_multiplier, int32_t second_multiplier, uint32_t shift,
                       int32_t out_zero, int32_t out_top, uint8_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        int64_t sum = (int64_t)((int32_t)first[i] - first_zero) * first_multiplier +
                      (int64_t)((int32_t)second[i] - second_zero) * second_multiplier;
        uint64_t whole = shift_half_even((uint64_t)(sum < 0 ? -sum : sum), shift);
        int32_t size = whole > 0xFFFFu ? 0xFFFF : (int32_t)whole;
        out[i] = limited(sum < 0 ? -size : size, out_zero, out_top);
    }
}

/* The values of a map on another grid. */
static inline void change_grid(const uint8_t *in, int32_t count, int32_t in_zero, int32_t multiplier, uint32_t shift,
                               int32_t out_zero, int32_t out_top, uint8_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = requantise((int32_t)in[i] - in_zero, multiplier, shift, out_zero, out_top);
    }
}
