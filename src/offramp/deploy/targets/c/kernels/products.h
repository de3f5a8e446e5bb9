/* Sums of products of ROWS rows of weights with two columns: sums[2 * row + column]. With Helium, each column in turn. */
#if defined(OFFRAMP_HELIUM)
static SEPARATE void multiply_one(const int8_t *row, int32_t step, const int8_t *column, int32_t length, int32_t *sums)
{
    const int8_t *w1 = row + step;
    const int8_t *w2 = w1 + step;
    const int8_t *w3 = w2 + step;
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
    int32_t blocks = length >> 4;
    for (int32_t k = 0; k < blocks; k++) {
        int8x16_t x = vldrbq_s8(column);
        a = vmladavaq_s8(a, x, vldrbq_s8(row));
        b = vmladavaq_s8(b, x, vldrbq_s8(w1));
        c = vmladavaq_s8(c, x, vldrbq_s8(w2));
        d = vmladavaq_s8(d, x, vldrbq_s8(w3));
        column += 16;
        row += 16;
        w1 += 16;
        w2 += 16;
        w3 += 16;
    }
    if ((length & 15) != 0) {
        mve_pred16_t live = vctp8q((uint32_t)(length & 15));
        int8x16_t x = vldrbq_z_s8(column, live);
        a = vmladavaq_s8(a, x, vldrbq_z_s8(row, live));
        b = vmladavaq_s8(b, x, vldrbq_z_s8(w1, live));
        c = vmladavaq_s8(c, x, vldrbq_z_s8(w2, live));
        d = vmladavaq_s8(d, x, vldrbq_z_s8(w3, live));
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
#elif defined(OFFRAMP_DSP)
#if defined(__GNUC__)
#define MULTIPLY_FOUR                                                                                                  \
    "ldr %[p], [%[row]], #4\n"                                                                                         \
    "ldrd %[x], %[y], [%[pair]], #8\n"                                                                                 \
    "ldr %[q], [%[next]], #4\n"                                                                                        \
    "sxtb16 %[h], %[p]\n"                                                                                              \
    "smlad %[a], %[h], %[x], %[a]\n"                                                                                   \
    "smlad %[b], %[h], %[y], %[b]\n"                                                                                   \
    "sxtb16 %[h], %[q]\n"                                                                                              \
    "smlad %[c], %[h], %[x], %[c]\n"                                                                                   \
    "smlad %[d], %[h], %[y], %[d]\n"                                                                                   \
    "ldrd %[x], %[y], [%[pair]], #8\n"                                                                                 \
    "sxtb16 %[p], %[p], ror #8\n"                                                                                      \
    "sxtb16 %[q], %[q], ror #8\n"                                                                                      \
    "smlad %[a], %[p], %[x], %[a]\n"                                                                                   \
    "smlad %[b], %[p], %[y], %[b]\n"                                                                                   \
    "smlad %[c], %[q], %[x], %[c]\n"                                                                                   \
    "smlad %[d], %[q], %[y], %[d]\n"
#define MULTIPLY(TEXT)                                                                                                 \
    __asm__(TEXT                                                                                                       \
            : [row] "+&r"(row), [next] "+&r"(next), [pair] "+&r"(pair), [a] "+&r"(a), [b] "+&r"(b), [c] "+&r"(c),      \
              [d] "+&r"(d), [p] "=&r"(p), [q] "=&r"(q), [x] "=&r"(x), [y] "=&r"(y), [h] "=&r"(h)                       \
            : [end] "r"(end)                                                                                           \
            : "cc", "memory")
#endif

static SEPARATE void multiply(const int8_t *row, int32_t step, const int16_t *pair, int32_t length, int32_t *sums)
{
    const int8_t *next = row + step;
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
#if defined(__GNUC__)
    const int8_t *end = row + (length & ~7);
    uint32_t p;
    uint32_t q;
    uint32_t x;
    uint32_t y;
    uint32_t h;
    if (row != end) {
        MULTIPLY("1:\n" MULTIPLY_FOUR MULTIPLY_FOUR "cmp %[row], %[end]\n"
                 "bne 1b\n");
    }
    if ((length & 4) != 0) {
        MULTIPLY(MULTIPLY_FOUR);
    }
#else
    for (int32_t k = 0; k < length; k += 4, pair += 8) {
        uint32_t p = read_word(row + k);
        uint32_t q = read_word(next + k);
        a = multiply_halves(even_halves(p), read_word(pair), a);
        b = multiply_halves(even_halves(p), read_word(pair + 2), b);
        c = multiply_halves(even_halves(q), read_word(pair), c);
        d = multiply_halves(even_halves(q), read_word(pair + 2), d);
        a = multiply_halves(odd_halves(p), read_word(pair + 4), a);
        b = multiply_halves(odd_halves(p), read_word(pair + 6), b);
        c = multiply_halves(odd_halves(q), read_word(pair + 4), c);
        d = multiply_halves(odd_halves(q), read_word(pair + 6), d);
    }
#endif
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
#elif ROWS == 4
#if defined(__GNUC__)
#define STEP_ENDS __asm__ volatile("" ::: "memory") /* values of the next step are not read before: there are too few registers */
#else
#define STEP_ENDS
#endif
#define MULTIPLY_STEP(K)                                                                                               \
    {                                                                                                                  \
        int32_t x = (int32_t)first[K];                                                                                 \
        int32_t y = (int32_t)second[K];                                                                                \
        int32_t w = (int32_t)row[K];                                                                                   \
        a0 += w * x;                                                                                                   \
        a1 += w * y;                                                                                                   \
        w = (int32_t)w1[K];                                                                                            \
        b0 += w * x;                                                                                                   \
        b1 += w * y;                                                                                                   \
        w = (int32_t)w2[K];                                                                                            \
        c0 += w * x;                                                                                                   \
        c1 += w * y;                                                                                                   \
        w = (int32_t)w3[K];                                                                                            \
        d0 += w * x;                                                                                                   \
        d1 += w * y;                                                                                                   \
        STEP_ENDS;                                                                                                     \
    }

static SEPARATE void multiply(const int8_t *row, int32_t step, const int8_t *first, const int8_t *second,
                              int32_t length, int32_t *sums)
{
    const int8_t *w1 = row + step;
    const int8_t *w2 = w1 + step;
    const int8_t *w3 = w2 + step;
    const int8_t *end = first + length;
    int32_t a0 = sums[0];
    int32_t a1 = sums[1];
    int32_t b0 = sums[2];
    int32_t b1 = sums[3];
    int32_t c0 = sums[4];
    int32_t c1 = sums[5];
    int32_t d0 = sums[6];
    int32_t d1 = sums[7];
    while (first != end) {
        MULTIPLY_STEP(0)
        MULTIPLY_STEP(1)
        MULTIPLY_STEP(2)
        MULTIPLY_STEP(3)
        first += 4;
        second += 4;
        row += 4;
        w1 += 4;
        w2 += 4;
        w3 += 4;
    }
    sums[0] = a0;
    sums[1] = a1;
    sums[2] = b0;
    sums[3] = b1;
    sums[4] = c0;
    sums[5] = c1;
    sums[6] = d0;
    sums[7] = d1;
}
#else
static SEPARATE void multiply(const int8_t *row, int32_t step, const int8_t *first, const int8_t *second, int32_t length,
                            int32_t *sums)
{
    const int8_t *w1 = row + step;
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
    for (int32_t k = 0; k < length; k++) {
        int32_t x = (int32_t)first[k];
        int32_t y = (int32_t)second[k];
        a += (int32_t)row[k] * x;
        b += (int32_t)row[k] * y;
        c += (int32_t)w1[k] * x;
        d += (int32_t)w1[k] * y;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
#endif

/* One row with one column. */
static inline int32_t multiply_single(const int8_t *row, const column_t *column, int32_t length, int32_t sum)
{
#if defined(OFFRAMP_DSP)
    for (int32_t k = 0; k < length; k += 4) {
        uint32_t p = read_word(row + k);
        sum = multiply_halves(even_halves(p), read_word(column + k), sum);
        sum = multiply_halves(odd_halves(p), read_word(column + k + 2), sum);
    }
#elif defined(OFFRAMP_HELIUM)
    for (int32_t k = 0; k < length; k += 16) {
        mve_pred16_t live = vctp8q((uint32_t)(length - k));
        sum = vmladavaq_s8(sum, vldrbq_z_s8(column + k, live), vldrbq_z_s8(row + k, live));
    }
#else
    for (int32_t k = 0; k < length; k++) {
        sum += (int32_t)row[k] * (int32_t)column[k];
    }
#endif
    return sum;
}
