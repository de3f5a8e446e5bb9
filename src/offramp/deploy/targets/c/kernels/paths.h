/* Fast paths, chosen by what the compiler says of the chip; -DOFFRAMP_PORTABLE turns them off. */
#if !defined(OFFRAMP_PORTABLE)
#if defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#define OFFRAMP_HELIUM 1 /* Cortex-M55, M85 */
#include <arm_mve.h>
#if defined(__GNUC__) && !defined(__clang__)
/* With gcc 12, -O3 gave wrong sums of depthwise networks on Cortex-M55; -O2 gave the right ones. */
#pragma GCC optimize("O2")
#endif
#elif defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1) && !defined(__ARM_BIG_ENDIAN)
#define OFFRAMP_DSP 1 /* Cortex-M4, M7, M33 */
#include <arm_acle.h>
#endif
#endif

#if defined(__GNUC__)
#define SEPARATE __attribute__((noinline)) /* has all registers for itself */
#else
#define SEPARATE
#endif

/* So many output channels are computed together. */
#if defined(OFFRAMP_HELIUM) || defined(__riscv)
#define ROWS 4
#else
#define ROWS 2
#endif

/* How inputs of a convolution are collected. */
#if defined(OFFRAMP_DSP)
typedef int16_t column_t;
#else
typedef int8_t column_t;
#endif

static inline uint32_t read_word(const void *from)
{
    uint32_t word;
    (void)memcpy(&word, from, sizeof word);
    return word;
}

#if defined(OFFRAMP_DSP)
/* Bytes 0 and 2, and bytes 1 and 3, as two integers of 16 bits each. */
static inline uint32_t even_halves(uint32_t word)
{
    return (uint32_t)__sxtb16((int8x4_t)word);
}

static inline uint32_t odd_halves(uint32_t word)
{
#if defined(__GNUC__)
    uint32_t result;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
    return result;
#else
    return even_halves(word >> 8);
#endif
}

static inline int32_t multiply_halves(uint32_t a, uint32_t b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}
#endif
